//! The choices of an account's menus, which are read from the vendor and cached.

use std::collections::HashMap;
use std::sync::PoisonError;

use super::interactive::{INTERACTIVE_TIMEOUT, for_interactive_use, with_timeout};
use super::{Accounts, vendor_error};
use crate::auth::Actor;
use crate::clock::Millis;
use crate::connectors::report::Menu;
use crate::connectors::{self, Choice, PullError};
use crate::error::{Error, Result};
use crate::ids::AccountId;

/// The cached choices of a menu, and when they were read.
pub(super) type MenuCache = HashMap<(AccountId, Menu), (Millis, Vec<Choice>)>;

/// How long the choices of a menu are cached.
const MENU_TTL: Millis = 5 * 60 * 1_000;
/// The maximum number of cached menus.
const MAX_MENUS: usize = 200;

impl Accounts {
    /// The choices of a menu of this account, at most five minutes old.
    pub async fn choices(&self, actor: &Actor, id: &AccountId, menu: Menu) -> Result<Vec<Choice>> {
        let account = self.usable(actor, id).await?;
        if !account.connector.fills_menu(menu) {
            return Err(Error::field(
                "menu",
                format!(
                    "A {} account has no list of values for {}.",
                    account.connector.title(),
                    menu.label()
                ),
            ));
        }
        let key = (id.clone(), menu);
        let fresh = |at: Millis| at + MENU_TTL > self.clock.now();
        if let Some((at, known)) = self
            .menus
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            && fresh(*at)
        {
            return Ok(known.clone());
        }
        let credentials_read_at = self.clock.now();
        let mut source = self.source(id).await?;
        if menu == Menu::Tag {
            // A missing permission to read tags does not mean that the credentials are wrong.
            let trial = self.upstreams.for_trial(
                id.as_str(),
                account.connector,
                account.api_url.as_deref(),
                account.requests_per_minute,
            );
            source.upstream = trial.map_err(|why| vendor_error(account.connector, &why))?;
        }
        let source = for_interactive_use(source);
        let result = with_timeout(
            &source,
            INTERACTIVE_TIMEOUT,
            connectors::choices(&source, menu),
        )
        .await;
        self.save_vendor_hints(id, &source.upstream).await?;
        let read = match result {
            Ok(Ok(read)) => read,
            Ok(Err(why)) => {
                if matches!(why, PullError::Unauthorized) && menu != Menu::Tag {
                    self.record_health(id, Err(&why), credentials_read_at)
                        .await?;
                }
                return Err(vendor_error(account.connector, &why));
            }
            Err(slow) => return Err(slow),
        };
        let mut menus = self.menus.lock().unwrap_or_else(PoisonError::into_inner);
        if menus.len() >= MAX_MENUS {
            menus.retain(|_, (at, _)| fresh(*at));
        }
        if menus.len() >= MAX_MENUS {
            menus.clear();
        }
        menus.insert(key, (self.clock.now(), read.clone()));
        Ok(read)
    }

    /// The choices of a menu that were read last, and when, of any age. The caller has checked
    /// permission for the account.
    pub fn cached_choices(&self, id: &AccountId, menu: Menu) -> Option<(Millis, Vec<Choice>)> {
        self.menus
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(id.clone(), menu))
            .cloned()
    }

    /// Clears the cache, so that the next `choices` reads the menu from the vendor.
    pub fn clear_menu_cache(&self, id: &AccountId) {
        self.menus
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(account, _), _| account != id);
    }
}
