//! Limits the open connections per address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::client_network;

/// Limits the open connections per address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AddressLimit(Arc<AddressCounts>);

#[derive(Debug)]
struct AddressCounts {
    max: usize,
    /// Networks of proxies, which connect for many clients.
    proxies: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    of: AddressLimit,
    address: IpAddr,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self
            .of
            .0
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

impl AddressLimit {
    /// `max`: 0 for no limit. Connections from the networks `proxies` are not limited.
    pub fn new(max: usize, proxies: Vec<IpNet>) -> Self {
        Self(Arc::new(AddressCounts {
            max,
            proxies,
            open: Mutex::default(),
        }))
    }

    /// Counts a connection from this address. `Err` if the limit is reached.
    pub(super) fn count(
        &self,
        address: IpAddr,
    ) -> Result<Option<ConnectionPermit>, TooManyConnections> {
        if self.0.max == 0
            || self
                .0
                .proxies
                .iter()
                .any(|net| net.contains(&address.to_canonical()))
        {
            return Ok(None);
        }
        let address = client_network(address);
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.0.max {
            return Err(TooManyConnections);
        }
        *count += 1;
        Ok(Some(ConnectionPermit {
            of: self.clone(),
            address,
        }))
    }
}

/// The connection limit of an address is reached.
#[derive(Debug)]
pub(super) struct TooManyConnections;
