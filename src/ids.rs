//! A type for each kind of id. An id is a short prefix, an underscore and 32 hex digits that sort
//! by creation time. Only well-formed text can be parsed, so every id value is valid.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// A new id that sorts after every earlier one of this process.
            #[allow(clippy::new_without_default)]
            pub fn new() -> Self {
                Self(format!(concat!($prefix, "_{}"), uuid::Uuid::now_v7().simple()))
            }

            /// Parses an id of this kind.
            pub fn parse(text: &str) -> Option<Self> {
                let hex = text.strip_prefix(concat!($prefix, "_"))?;
                let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let well_formed = hex.len() == 32 && hex.bytes().all(is_hex);
                well_formed.then(|| Self(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                Self::parse(text)
                    .ok_or_else(|| concat!("not an id of the form ", $prefix, "_...").to_owned())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl sqlx::Type<sqlx::Sqlite> for $name {
            fn type_info() -> sqlx::sqlite::SqliteTypeInfo {
                <String as sqlx::Type<sqlx::Sqlite>>::type_info()
            }
            fn compatible(ty: &sqlx::sqlite::SqliteTypeInfo) -> bool {
                <String as sqlx::Type<sqlx::Sqlite>>::compatible(ty)
            }
        }

        impl sqlx::Encode<'_, sqlx::Sqlite> for $name {
            fn encode_by_ref(
                &self,
                args: &mut <sqlx::Sqlite as sqlx::Database>::ArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                sqlx::Encode::<sqlx::Sqlite>::encode(self.0.clone(), args)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Sqlite> for $name {
            fn decode(
                value: sqlx::sqlite::SqliteValueRef<'r>,
            ) -> Result<Self, sqlx::error::BoxDynError> {
                Ok(Self(<String as sqlx::Decode<sqlx::Sqlite>>::decode(value)?))
            }
        }
    };
}

id!(/** A person who signs in. */ UserId, "usr");
id!(/** A one-time link that creates a person or sets a new password. */ InviteId, "inv");
id!(/** An API token. */ TokenId, "tok");
id!(/** A password for the export API. */ ExportPasswordId, "xpw");
id!(/** Credentials for one vendor workspace. */ AccountId, "acc");
id!(/** The rows of one report with their settings. */ DatasetId, "ds");
id!(/** One execution for one DataSet. */ RunId, "run");
id!(/** A request to pull past days. */ BackfillId, "bf");
id!(/** One complete state of a DataSet. */ VersionId, "ver");
id!(/** One immutable file of rows. */ SegmentId, "seg");
id!(/** An entry of the audit log. */ AuditId, "aud");
id!(/** One notification for one recipient. */ NotificationId, "ntc");
id!(/** The notifications of one recipient in one email or webhook call. */ MessageId, "msg");
id!(/** A URL that receives notifications. */ WebhookId, "hook");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_text_becomes_an_id() {
        let id = DatasetId::new();
        assert_eq!(DatasetId::parse(id.as_str()), Some(id.clone()));
        for odd in [
            "",
            ":id",
            "0",
            "-1",
            "null",
            "ds_",
            "../",
            "ds_\0",
            &id.as_str().to_uppercase(),
            &id.as_str().replace("ds_", "acc_"),
            &"x".repeat(10_240),
        ] {
            assert_eq!(DatasetId::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn ids_sort_by_the_time_of_making() {
        let ids: Vec<_> = (0..50).map(|_| RunId::new()).collect();
        assert!(ids.is_sorted());
    }
}
