//! Renamed time zones: Chatlake and LiveChat may know only the older or only the newer name.

use super::client::Query;

/// Newer and older name of each renamed zone that is in use today, from the file `backward` of the
/// IANA time zone database.
const RENAMED: [(&str, &str); 51] = [
    ("Africa/Asmara", "Africa/Asmera"),
    ("America/Adak", "America/Atka"),
    ("America/Argentina/Buenos_Aires", "America/Buenos_Aires"),
    ("America/Argentina/Catamarca", "America/Catamarca"),
    ("America/Argentina/Cordoba", "America/Cordoba"),
    ("America/Argentina/Jujuy", "America/Jujuy"),
    ("America/Argentina/Mendoza", "America/Mendoza"),
    ("America/Atikokan", "America/Coral_Harbour"),
    ("America/Chicago", "US/Central"),
    ("America/Denver", "US/Mountain"),
    ("America/Indiana/Indianapolis", "America/Indianapolis"),
    ("America/Indiana/Knox", "America/Knox_IN"),
    ("America/Kentucky/Louisville", "America/Louisville"),
    ("America/Los_Angeles", "US/Pacific"),
    ("America/New_York", "US/Eastern"),
    ("America/Nuuk", "America/Godthab"),
    ("America/Rio_Branco", "America/Porto_Acre"),
    ("America/Tijuana", "America/Ensenada"),
    ("Asia/Ashgabat", "Asia/Ashkhabad"),
    ("Asia/Dhaka", "Asia/Dacca"),
    ("Asia/Ho_Chi_Minh", "Asia/Saigon"),
    ("Asia/Jerusalem", "Asia/Tel_Aviv"),
    ("Asia/Kathmandu", "Asia/Katmandu"),
    ("Asia/Kolkata", "Asia/Calcutta"),
    ("Asia/Macau", "Asia/Macao"),
    ("Asia/Makassar", "Asia/Ujung_Pandang"),
    ("Asia/Nicosia", "Europe/Nicosia"),
    ("Asia/Shanghai", "Asia/Chongqing"),
    ("Asia/Thimphu", "Asia/Thimbu"),
    ("Asia/Ulaanbaatar", "Asia/Ulan_Bator"),
    ("Asia/Urumqi", "Asia/Kashgar"),
    ("Asia/Yangon", "Asia/Rangoon"),
    ("Atlantic/Faroe", "Atlantic/Faeroe"),
    ("Australia/Adelaide", "Australia/South"),
    ("Australia/Brisbane", "Australia/Queensland"),
    ("Australia/Darwin", "Australia/North"),
    ("Australia/Hobart", "Australia/Tasmania"),
    ("Australia/Lord_Howe", "Australia/LHI"),
    ("Australia/Melbourne", "Australia/Victoria"),
    ("Australia/Perth", "Australia/West"),
    ("Australia/Sydney", "Australia/NSW"),
    ("Etc/GMT", "GMT"),
    ("Etc/UTC", "UTC"),
    ("Europe/Chisinau", "Europe/Tiraspol"),
    ("Europe/Kyiv", "Europe/Kiev"),
    ("Europe/London", "Europe/Belfast"),
    ("Pacific/Chuuk", "Pacific/Truk"),
    ("Pacific/Honolulu", "Pacific/Johnston"),
    ("Pacific/Kanton", "Pacific/Enderbury"),
    ("Pacific/Pago_Pago", "Pacific/Samoa"),
    ("Pacific/Pohnpei", "Pacific/Ponape"),
];

/// The other name of a zone; `None` if it has only one.
fn other_name(zone: &str) -> Option<&'static str> {
    RENAMED.iter().find_map(|(newer, older)| match zone {
        _ if zone == *newer => Some(*older),
        _ if zone == *older => Some(*newer),
        _ => None,
    })
}

/// The query with the other name of its time zone, if there is one.
pub(super) fn with_other_name(query: &Query) -> Option<Query> {
    let (_, zone) = query.iter().find(|(name, _)| *name == "timezone")?;
    let other = other_name(zone)?;
    Some(
        query
            .iter()
            .map(|(name, value)| {
                (
                    *name,
                    if *name == "timezone" {
                        other.to_owned()
                    } else {
                        value.clone()
                    },
                )
            })
            .collect(),
    )
}

/// Whether a refusal is about time zones.
pub fn is_about_zones(vendor_message: &str) -> bool {
    let vendor_message = vendor_message.to_lowercase();
    ["timezone", "time zone", "time_zone"]
        .iter()
        .any(|word| vendor_message.contains(word))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    #[test]
    fn both_names_of_a_zone_map_to_each_other() {
        for (newer, older) in RENAMED {
            assert_eq!(
                (other_name(newer), other_name(older)),
                (Some(older), Some(newer))
            );
            let at = jiff::Timestamp::from_second(1_795_176_000).unwrap();
            let offset = |name: &str| TimeZone::get(name).unwrap().to_offset(at);
            assert_eq!(offset(newer), offset(older), "{newer} {older}");
        }
        assert_eq!(other_name("Europe/Oslo"), None);
    }

    #[test]
    fn a_query_gets_the_other_name_of_its_zone_and_nothing_else_changes() {
        let query: Query = vec![
            ("page", "1".to_owned()),
            ("timezone", "Europe/Kyiv".to_owned()),
        ];
        assert_eq!(
            with_other_name(&query).unwrap(),
            [
                ("page", "1".to_owned()),
                ("timezone", "Europe/Kiev".to_owned())
            ]
        );
        assert_eq!(
            with_other_name(&vec![("timezone", "Europe/Oslo".to_owned())]),
            None
        );
        assert_eq!(with_other_name(&Query::new()), None);
        assert!(
            is_about_zones("Timezone must be one of the names of the tz database")
                && is_about_zones("unknown time zone")
        );
        assert!(!is_about_zones("no such group"));
    }
}
