//! Who may ask: keys with the organisations that they are of. Without keys everybody is one organisation.
//!
//! A key is compared with every known one in constant time, and is never written anywhere.

use subtle::{Choice, ConstantTimeEq};

/// Longest key that is looked at.
const LONGEST: usize = 256;

/// Keys, each with its organisation.
#[derive(Default)]
pub struct Keys {
    keys: Vec<(Box<[u8]>, u32)>,
    organisations: Vec<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("organisations", &self.organisations).finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of a text: one a line, with the organisation's name after a space where several keys share one. Lines
    /// that begin with # are not looked at.
    ///
    /// # Errors
    /// Where a line is wrong, with its number, what is wrong and what is allowed; never with the key.
    pub fn parse(text: &str) -> Result<Self, (usize, String, String)> {
        let mut keys = Self::default();
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let Some(key) = words.next().filter(|key| !key.starts_with('#')) else { continue };
            if key.len() > LONGEST {
                let problem = format!("the key has {} bytes", key.len());
                return Err((number + 1, problem, format!("at most {LONGEST}")));
            }
            let name = words.next().map_or_else(|| format!("key {}", keys.keys.len() + 1), str::to_owned);
            if words.next().is_some() {
                return Err((number + 1, "has more than two words".into(), "KEY, or KEY ORGANISATION".into()));
            }
            let known = keys.organisations.iter().position(|known| *known == name);
            let at = known.unwrap_or_else(|| {
                keys.organisations.push(name);
                keys.organisations.len() - 1
            });
            keys.keys.push((key.as_bytes().into(), u32::try_from(at).unwrap_or(u32::MAX)));
        }
        if keys.keys.is_empty() {
            return Err((1, "there is no key".into(), "a key on a line of its own".into()));
        }
        Ok(keys)
    }

    /// Organisations, at least one.
    pub fn organisations(&self) -> usize {
        self.organisations.len().max(1)
    }

    /// The organisation of who sends this `Authorization` header; nothing where none is known.
    pub fn organisation(&self, authorization: Option<&[u8]>) -> Option<u32> {
        if self.keys.is_empty() {
            return Some(0);
        }
        let given = authorization?.strip_prefix(b"Bearer ")?;
        let mut found = (Choice::from(0), 0);
        for (key, organisation) in &self.keys {
            let is_it = key.ct_eq(given);
            if bool::from(is_it) {
                found.1 = *organisation;
            }
            found.0 |= is_it;
        }
        bool::from(found.0).then_some(found.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_to_its_organisation() {
        let keys = Keys::parse("# for tests\nsk-one alpha\nsk-two beta\n\nsk-three alpha\n").expect("keys");
        let of = |key: &str| keys.organisation(Some(format!("Bearer {key}").as_bytes()));
        assert_eq!(["sk-one", "sk-two", "sk-three", "sk-four", ""].map(of), [Some(0), Some(1), Some(0), None, None]);
        assert_eq!((keys.organisation(None), keys.organisations()), (None, 2));
        assert_eq!(Keys::default().organisation(None), Some(0));
        assert!(Keys::parse("a b c").is_err() && Keys::parse("\n").is_err());
        assert!(!format!("{keys:?}").contains("sk-"), "keys are not written");
    }
}
