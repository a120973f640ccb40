//! How well a pull uses its calls: compared with their latency, and with the rate limit.

use crate::api_client::Api;
use crate::processes::Vendor;
use crate::table::{Table, thousands};
use crate::{LATENCY_MS, UNSETTLED_DAYS};

/// The number of concurrent calls.
const AT_ONCE: f64 = 8.0;
/// The default rate limit of an account.
const PER_MINUTE: f64 = 180.0;

impl Table {
    /// The time from the first call of a pull to its last one, compared with the minimum for that
    /// number of calls: for settled days, and for the newest days, which are read twice.
    pub async fn latency(&mut self, api: &Api, vendor: &Vendor, days: u32) {
        let account = api.account(vendor).await;
        let settled = api
            .dataset_between(&account, "chat", days, UNSETTLED_DAYS)
            .await;
        self.latency_of(
            api,
            vendor,
            &settled,
            &format!("{days} settled days"),
            Some((1.3, "1.3 times")),
        )
        .await;
        let newest = api
            .dataset_between(&account, "chat", UNSETTLED_DAYS - 1, 0)
            .await;
        self.latency_of(
            api,
            vendor,
            &newest,
            &format!("the newest {UNSETTLED_DAYS} days, read twice"),
            None,
        )
        .await;
    }

    async fn latency_of(
        &mut self,
        api: &Api,
        vendor: &Vendor,
        dataset: &str,
        what: &str,
        bound: Option<(f64, &str)>,
    ) {
        vendor.forget_calls(api).await;
        let run = api.run(dataset).await;
        let calls = vendor.calls(api).await;
        assert!(
            bound.is_none() || run["completeness"] == "verified",
            "{run}"
        );
        let least = calls.len() as f64 * LATENCY_MS as f64 / AT_ONCE / 1_000.0;
        let seconds =
            (calls[calls.len() - 1].0 - calls[0].0) as f64 / 1_000.0 + LATENCY_MS as f64 / 1_000.0;
        self.line(
            &format!(
                "Chat at {LATENCY_MS} ms per call: {} calls over {what}, {AT_ONCE:.0} at once",
                thousands(calls.len() as u64)
            ),
            &format!(
                "{seconds:.2} s, {:.2} times pages x latency / concurrency",
                seconds / least
            ),
            seconds / least,
            bound,
        );
    }

    /// The share of its rate limit that an account uses with a vendor that counts calls.
    pub async fn pace(&mut self, api: &Api, vendor: &Vendor) {
        let account = api.account_in_pace(vendor, PER_MINUTE as u32).await;
        let dataset = api.dataset_of(&account, "chat", 30).await;
        api.run(&dataset).await;
        let calls = vendor.calls(api).await;
        let refused = calls.iter().filter(|(_, status)| *status == 429).count();
        let minutes = (calls[calls.len() - 1].0 - calls[0].0) as f64 / 60_000.0;
        let used = calls.len() as f64 / minutes.max(1.0) / PER_MINUTE * 100.0;
        self.line(
            &format!(
                "A limit of {PER_MINUTE} calls per minute: {} calls in {:.0} s",
                calls.len(),
                minutes * 60.0
            ),
            &format!("{used:.0} % of the limit, {refused} refused"),
            f64::from(u32::from(used < 95.0 || refused > 0)),
            Some((1.0, "none refused, at least 95 %")),
        );
    }
}
