//! The frequencies of rotary embeddings, with the scalings of Hugging Face configs that are modelled.
//!
//! Sources: RoFormer (arXiv 2104.09864), equation 15; the `llama3` and `linear` rules of `modeling_rope_utils.py` of
//! the `transformers` library, as published with Llama 3.1.

use serde_json::Value;

use crate::error::ValuesError;

/// Inverse frequencies: `head_dim / 2` of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rotary {
    /// Radians per position, by pair.
    pub frequencies: Vec<f64>,
}

impl Rotary {
    /// The frequencies of a base, scaled as the text of a `config.json` says.
    ///
    /// # Errors
    /// Where the config asks for a scaling that is not modelled.
    pub fn new(config: &str, file: &str, theta: f64, head_dim: u64) -> Result<Self, ValuesError> {
        let refuse = |problem: String| ValuesError::File { file: file.into(), problem };
        let config: Value = serde_json::from_str(config).map_err(|error| refuse(format!("is no JSON: {error}")))?;
        let plain: Vec<f64> =
            (0..head_dim / 2).map(|pair| theta.powf(-((2 * pair) as f64) / head_dim as f64)).collect();
        let Some(scaling) = ["rope_scaling", "rope_parameters"]
            .into_iter()
            .filter_map(|key| config.get(key))
            .find(|value| value.is_object())
        else {
            return Ok(Self { frequencies: plain });
        };
        let kind = ["rope_type", "type"].into_iter().find_map(|key| scaling.get(key)).and_then(Value::as_str);
        let number = |key: &str| match scaling.get(key).and_then(Value::as_f64) {
            Some(value) if value > 0.0 && value.is_finite() => Ok(value),
            _ => Err(refuse(format!("rope_scaling.{key} is missing or no number above 0"))),
        };
        let frequencies = match kind.unwrap_or("default") {
            "default" => plain,
            "linear" => {
                let factor = number("factor")?;
                plain.into_iter().map(|frequency| frequency / factor).collect()
            }
            "llama3" => {
                let llama3 = Llama3 {
                    factor: number("factor")?,
                    low: number("low_freq_factor")?,
                    high: number("high_freq_factor")?,
                    original: number("original_max_position_embeddings")?,
                };
                if llama3.high <= llama3.low {
                    return Err(refuse("rope_scaling.high_freq_factor is not above low_freq_factor".into()));
                }
                plain.into_iter().map(|frequency| llama3.scaled(frequency)).collect()
            }
            other => {
                return Err(ValuesError::Unsupported {
                    what: format!("rope_scaling '{}'", other.chars().take(40).collect::<String>()),
                    hint: "allowed are default, linear and llama3".into(),
                });
            }
        };
        Ok(Self { frequencies })
    }
}

/// The scaling of Llama 3: long waves are slowed down by `factor`, short ones stay, those between are mixed.
struct Llama3 {
    factor: f64,
    /// Turns over the original context below which a wave is long.
    low: f64,
    /// Those above which it is short.
    high: f64,
    /// Positions of the original context.
    original: f64,
}

impl Llama3 {
    fn scaled(&self, frequency: f64) -> f64 {
        let turns = self.original * frequency / std::f64::consts::TAU;
        if turns < self.low {
            frequency / self.factor
        } else if turns > self.high {
            frequency
        } else {
            let smooth = (turns - self.low) / (self.high - self.low);
            (1.0 - smooth) * frequency / self.factor + smooth * frequency
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalings() {
        let of = |config: &str| Rotary::new(config, "config.json", 10_000.0, 4);
        assert_eq!(of("{}").unwrap().frequencies, [1.0, 0.01]);
        assert_eq!(of(r#"{"rope_scaling": null}"#).unwrap().frequencies, [1.0, 0.01]);
        assert_eq!(of(r#"{"rope_scaling": {"type": "linear", "factor": 2}}"#).unwrap().frequencies, [0.5, 0.005]);
        let llama3 = r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 512}}"#;
        // 512 / 2 pi = 81 turns: stays; 0.8 turns: slowed down.
        assert_eq!(of(llama3).unwrap().frequencies, [1.0, 0.00125]);
        assert!(matches!(of(r#"{"rope_scaling": {"type": "yarn"}}"#), Err(ValuesError::Unsupported { .. })));
        assert!(of(r#"{"rope_scaling": {"type": "linear"}}"#).is_err());
    }
}
