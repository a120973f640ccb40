//! The only type that holds a plaintext secret. It cannot be printed, and its memory is wiped on
//! drop.

use zeroize::Zeroizing;

/// A plaintext credential. `Debug` and `Display` never show it; `reveal` is called only where it is
/// encrypted, hashed or sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The plaintext. Only for the vault, the password hasher and `connectors/upstream/`.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(...)")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::new(String::deserialize(from)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_does_not_print() {
        #[derive(Debug)]
        #[allow(dead_code)]
        struct Holder {
            key: Secret,
        }
        let shown = format!(
            "{:?}",
            Holder {
                key: Secret::new("canary-4711")
            }
        );
        assert!(!shown.contains("canary"), "{shown}");
    }
}
