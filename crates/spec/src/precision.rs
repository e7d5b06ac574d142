//! Which tensor is stored in which number format: one for matrices and one for small weights, and others for single
//! roles where a checkpoint or a setting says so.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::data_type::{DataType, TensorClass};
use crate::model::Role;

/// The data types of weights, cache and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Precision {
    /// Matrices. Default fp8: what public MoE endpoints store (sources.md#production-systems).
    pub weights: DataType,
    /// Norms, biases and router. Default bf16.
    pub small_weights: DataType,
    /// KV cache. Default bf16.
    pub kv_cache: DataType,
    /// Activations. Default fp16. Must be an arithmetic type.
    pub activations: DataType,
    /// Roles whose tensors are stored otherwise. Default: none.
    #[serde(skip_serializing_if = "RoleTypes::is_empty")]
    pub roles: RoleTypes,
}

impl Default for Precision {
    fn default() -> Self {
        Self {
            weights: DataType::Fp8,
            small_weights: DataType::Bf16,
            kv_cache: DataType::Bf16,
            activations: DataType::Fp16,
            roles: RoleTypes::NONE,
        }
    }
}

impl Precision {
    /// How the tensors of a role are stored; their biases are small weights.
    pub fn stored(&self, role: Role) -> DataType {
        self.roles.get(role).unwrap_or(match role.class() {
            TensorClass::SmallWeights => self.small_weights,
            _ => self.weights,
        })
    }

    /// The same with matrices in `weights`, whatever role they have; small weights stay.
    #[must_use]
    pub fn with_weights(mut self, weights: DataType) -> Self {
        self.weights = weights;
        self.roles.0.iter_mut().zip(Role::ALL).for_each(|(stored, role)| {
            if role.class() == TensorClass::Weights {
                *stored = None;
            }
        });
        self
    }

    /// The same with the roles of a group in `stored`.
    #[must_use]
    pub fn with_group(mut self, group: RoleGroup, stored: DataType) -> Self {
        for role in Role::ALL.into_iter().filter(|role| role.group() == Some(group)) {
            self.roles.set(role, stored);
        }
        self
    }

    /// The format that all roles of a group have; none where they differ.
    pub fn of_group(&self, group: RoleGroup) -> Option<DataType> {
        let mut all = Role::ALL.into_iter().filter(|role| role.group() == Some(group)).map(|role| self.stored(role));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }
}

/// Matrices, and what is stored otherwise: `weights fp4 (attention bf16, embedding bf16)`.
impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.weights.name())?;
        if self.roles.is_empty() {
            return Ok(());
        }
        let mut parts: Vec<String> = Vec::new();
        for group in RoleGroup::ALL {
            let usual = if *group == RoleGroup::Router { self.small_weights } else { self.weights };
            match self.of_group(*group) {
                Some(stored) if stored != usual => parts.push(format!("{} {stored}", group.words())),
                Some(_) => {}
                None => {
                    let roles = Role::ALL.into_iter().filter(|role| role.group() == Some(*group));
                    let others = roles.filter(|role| self.stored(*role) != usual);
                    parts.extend(others.map(|role| format!("{} {}", role.name().replace('_', " "), self.stored(role))));
                }
            }
        }
        if parts.is_empty() { Ok(()) } else { write!(formatter, " ({})", parts.join(", ")) }
    }
}

/// Roles that settings name together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoleGroup {
    /// Projections of the attention.
    Attention,
    /// Matrices of dense feed-forward networks.
    Dense,
    /// Matrices of routed experts.
    Experts,
    /// Matrices of shared experts.
    SharedExperts,
    /// The router.
    Router,
    /// The embedding table.
    Embedding,
    /// The LM head.
    Head,
}

impl RoleGroup {
    /// All groups, in the order they are listed to people.
    pub const ALL: &[Self] =
        &[Self::Attention, Self::Dense, Self::Experts, Self::SharedExperts, Self::Router, Self::Embedding, Self::Head];

    /// The name for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Dense => "dense networks",
            Self::Experts => "experts",
            Self::SharedExperts => "shared experts",
            Self::Router => "router",
            Self::Embedding => "embedding",
            Self::Head => "head",
        }
    }
}

/// Formats of single roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleTypes([Option<DataType>; Role::ALL.len()]);

impl Default for RoleTypes {
    fn default() -> Self {
        Self::NONE
    }
}

impl RoleTypes {
    /// No role is stored otherwise.
    pub const NONE: Self = Self([None; Role::ALL.len()]);

    /// The format of a role, where it has one of its own.
    pub fn get(&self, role: Role) -> Option<DataType> {
        self.0.get(role as usize).copied().flatten()
    }

    /// Gives a role a format of its own.
    pub fn set(&mut self, role: Role, stored: DataType) {
        if let Some(slot) = self.0.get_mut(role as usize) {
            *slot = Some(stored);
        }
    }

    /// Whether no role has one.
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    fn entries(&self) -> impl Iterator<Item = (Role, DataType)> {
        Role::ALL.into_iter().filter_map(|role| Some((role, self.get(role)?)))
    }
}

impl Serialize for RoleTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries())
    }
}

impl<'de> Deserialize<'de> for RoleTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> de::Visitor<'de> for Entries {
            type Value = RoleTypes;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a table of roles, each with a data type")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<RoleTypes, A::Error> {
                let mut roles = RoleTypes::NONE;
                while let Some((role, stored)) = map.next_entry::<Role, DataType>()? {
                    roles.set(role, stored);
                }
                Ok(roles)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_at_their_places() {
        for (place, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(place, role as usize);
        }
    }

    #[test]
    fn a_group_is_stored_otherwise_until_all_matrices_are_said() {
        let precision = Precision { weights: DataType::Fp4, ..Precision::default() };
        let mixed =
            precision.with_group(RoleGroup::Attention, DataType::Bf16).with_group(RoleGroup::Router, DataType::Fp32);
        assert_eq!(mixed.stored(Role::KvUp), DataType::Bf16);
        assert_eq!(mixed.stored(Role::ExpertUp), DataType::Fp4);
        assert_eq!(mixed.stored(Role::AttentionNorm), DataType::Bf16);
        assert_eq!(mixed.to_string(), "fp4 (attention bf16, router fp32)");
        let said = mixed.with_weights(DataType::Fp8);
        assert_eq!((said.stored(Role::KvUp), said.stored(Role::Router)), (DataType::Fp8, DataType::Fp32));
    }

    #[test]
    fn written_and_read_it_is_the_same() {
        let plain = serde_json::to_string(&Precision::default()).unwrap();
        assert!(!plain.contains("roles"), "{plain}");
        let mixed = Precision::default().with_group(RoleGroup::Experts, DataType::Int4Group32);
        let text = serde_json::to_string(&mixed).unwrap();
        assert_eq!(serde_json::from_str::<Precision>(&text).unwrap(), mixed, "{text}");
    }
}
