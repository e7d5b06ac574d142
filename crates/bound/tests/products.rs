//! Which products wait for which: every scalar product of a small model with all that it needs, as freely as the
//! mathematics allows (a norm's scale and a softmax's divisor may follow later, sums are formed in any order). The
//! chains that the bound counts are held to it, and so is what it leaves out.

use std::collections::BTreeMap;

/// A set of products that are needed.
type Needs = Vec<u64>;

/// All products so far, by group, each with its number and what it needs.
#[derive(Default)]
struct Products {
    needs: Vec<Needs>,
    groups: BTreeMap<String, Vec<usize>>,
}

fn union(parts: &[&Needs]) -> Needs {
    let length = parts.iter().map(|part| part.len()).max().unwrap_or(0);
    (0..length).map(|word| parts.iter().fold(0, |bits, part| bits | part.get(word).copied().unwrap_or(0))).collect()
}

impl Products {
    /// A product of two values; what its result needs.
    fn product(&mut self, group: &str, operands: &[&Needs]) -> Needs {
        let (number, needs) = (self.needs.len(), union(operands));
        self.needs.push(needs.clone());
        self.groups.entry(group.to_owned()).or_default().push(number);
        let mut own = vec![0; number / 64 + 1];
        own[number / 64] |= 1 << (number % 64);
        union(&[&needs, &own])
    }

    /// A matrix times a vector: each output is the sum of its products.
    fn matrix(&mut self, group: &str, vector: &[Needs], outputs: usize) -> Vec<Needs> {
        let output = |products: &mut Self| {
            let terms: Vec<Needs> = vector.iter().map(|element| products.product(group, &[element])).collect();
            union(&terms.iter().collect::<Vec<_>>())
        };
        (0..outputs).map(|_| output(self)).collect()
    }

    /// Whether every product of `later` needs every product of `earlier`.
    fn all_wait(&self, earlier: &Set, later: &Set) -> bool {
        let of = |set: &Set| -> Vec<usize> { set.0.iter().flat_map(|name| self.groups[name].clone()).collect() };
        let has =
            |needs: &Needs, number: usize| needs.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1);
        let earlier = of(earlier);
        of(later).iter().all(|late| earlier.iter().all(|early| has(&self.needs[*late], *early)))
    }
}

/// Groups of products of one layer.
struct Set(Vec<String>);

fn set(layer: usize, names: &[&str]) -> Set {
    Set(names.iter().map(|name| format!("{layer}.{name}")).collect())
}

const HIDDEN: usize = 3;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 2;
const CACHED: usize = 2;
const WIDTH: usize = 3;
const RANK: usize = 2;

fn added(one: &[Needs], other: &[Needs]) -> Vec<Needs> {
    one.iter().zip(other).map(|(one, other)| union(&[one, other])).collect()
}

/// Scores and values of one head over vectors of some width: what the head's result needs, by element.
fn head(all: &mut Products, layer: usize, query: &[Needs], new_key: &[Needs], new_value: &[Needs]) -> Vec<Needs> {
    let nothing = Needs::new();
    let mut weights = Vec::new();
    for token in 0..=CACHED {
        let key = |dim: usize| if token == CACHED { &new_key[dim] } else { &nothing };
        let terms: Vec<Needs> =
            (0..query.len()).map(|dim| all.product(&format!("{layer}.scores"), &[&query[dim], key(dim)])).collect();
        weights.push(union(&terms.iter().collect::<Vec<_>>()));
    }
    let element = |all: &mut Products, dim: usize| {
        let value = |token: usize| if token == CACHED { &new_value[dim] } else { &nothing };
        let terms: Vec<Needs> = (0..=CACHED)
            .map(|token| all.product(&format!("{layer}.values"), &[&weights[token], value(token)]))
            .collect();
        union(&terms.iter().collect::<Vec<_>>())
    };
    (0..new_value.len()).map(|dim| element(all, dim)).collect()
}

fn grouped(all: &mut Products, layer: usize, input: &[Needs]) -> Vec<Needs> {
    let project =
        |all: &mut Products, name: &str, heads: usize| all.matrix(&format!("{layer}.{name}"), input, heads * HEAD_DIM);
    let (query, key, value) = (project(all, "q", HEADS), project(all, "k", KV_HEADS), project(all, "v", KV_HEADS));
    let of = |vector: &[Needs], head: usize| vector[head * HEAD_DIM..][..HEAD_DIM].to_vec();
    let results = (0..HEADS).flat_map(|number| {
        let shared = number * KV_HEADS / HEADS;
        head(all, layer, &of(&query, number), &of(&key, shared), &of(&value, shared))
    });
    results.collect()
}

/// Multi-head latent attention, queries compressed, keys and values absorbed.
fn latent(all: &mut Products, layer: usize, input: &[Needs]) -> Vec<Needs> {
    let compressed = all.matrix(&format!("{layer}.q_down"), input, RANK);
    let cached = all.matrix(&format!("{layer}.kv_down"), input, RANK);
    let results = (0..HEADS).flat_map(|_| {
        let query = all.matrix(&format!("{layer}.q_up"), &compressed, HEAD_DIM);
        let absorbed = all.matrix(&format!("{layer}.kv_up"), &query, RANK);
        let mixed = head(all, layer, &absorbed, &cached, &cached);
        all.matrix(&format!("{layer}.kv_up"), &mixed, HEAD_DIM)
    });
    results.collect()
}

/// The gated delta rule: what the state says of the key is taken from the value before it is written; the result reads
/// the old state, and what is written through the product of key and query.
fn linear(all: &mut Products, layer: usize, input: &[Needs]) -> Vec<Needs> {
    let project = |all: &mut Products, name: &str| all.matrix(&format!("{layer}.{name}"), input, HEADS * HEAD_DIM);
    let (query, key, value) = (project(all, "q"), project(all, "k"), project(all, "v"));
    let gate = project(all, "gate_of_output");
    let strength = all.matrix(&format!("{layer}.strength"), input, HEADS);
    let mut results = Vec::new();
    for head in 0..HEADS {
        let of = |vector: &[Needs]| vector[head * HEAD_DIM..][..HEAD_DIM].to_vec();
        let (query, key, value, gate) = (of(&query), of(&key), of(&value), of(&gate));
        let said = all.matrix(&format!("{layer}.state"), &key, HEAD_DIM);
        let read = all.matrix(&format!("{layer}.state"), &query, HEAD_DIM);
        let terms: Vec<Needs> = (0..HEAD_DIM).map(|dim| union(&[&query[dim], &key[dim]])).collect();
        let both = union(&terms.iter().collect::<Vec<_>>());
        let of_dim = |dim: usize| union(&[&read[dim], &said[dim], &value[dim], &gate[dim], &strength[head], &both]);
        results.extend((0..HEAD_DIM).map(of_dim));
    }
    results
}

type Attention = fn(&mut Products, usize, &[Needs]) -> Vec<Needs>;

/// Two layers and the LM head, and the first products of the next token, as layer 2.
fn model(attention: Attention) -> Products {
    let mut all = Products::default();
    let mut stream = vec![Needs::new(); HIDDEN];
    for layer in 0..2 {
        let attended = attention(&mut all, layer, &stream);
        let output = all.matrix(&format!("{layer}.output"), &attended, HIDDEN);
        stream = added(&stream, &output);
        let (gate, up) =
            (all.matrix(&format!("{layer}.gate"), &stream, WIDTH), all.matrix(&format!("{layer}.up"), &stream, WIDTH));
        let down = all.matrix(&format!("{layer}.down"), &added(&gate, &up), HIDDEN);
        stream = added(&stream, &down);
    }
    let logits = all.matrix("head", &stream, 5);
    let token = union(&logits.iter().collect::<Vec<_>>());
    attention(&mut all, 2, &vec![token; HIDDEN]);
    all
}

#[test]
fn stages_of_grouped_attention_wait_for_all_of_the_one_before() {
    let all = model(grouped);
    let attention = |layer| set(layer, &["q", "k", "v", "scores", "values"]);
    let heads = |layer| set(layer, &["scores", "values"]);
    let gate_up = |layer| set(layer, &["gate", "up"]);
    let network = |layer| set(layer, &["gate", "up", "down"]);
    for layer in 0..2 {
        assert!(all.all_wait(&attention(layer), &network(layer)));
    }
    assert!(all.all_wait(&gate_up(0), &attention(1)));
    assert!(all.all_wait(&network(0), &heads(1)));
    // What the bound must not count: rows and columns that follow each other alone.
    assert!(!all.all_wait(&set(0, &["output"]), &gate_up(0)));
    assert!(!all.all_wait(&set(0, &["down"]), &set(1, &["q"])));
    assert!(!all.all_wait(&set(1, &["q"]), &heads(1)), "heads wait for their own query alone");
}

#[test]
fn stages_of_latent_attention_wait_for_all_of_the_one_before() {
    let all = model(latent);
    let attention = |layer| set(layer, &["q_down", "kv_down", "q_up", "kv_up", "scores", "values"]);
    let heads = |layer| set(layer, &["q_up", "kv_up", "scores", "values"]);
    let cached = |layer| set(layer, &["scores", "values"]);
    let gate_up = |layer| set(layer, &["gate", "up"]);
    let network = |layer| set(layer, &["gate", "up", "down"]);
    for layer in 0..2 {
        assert!(all.all_wait(&attention(layer), &network(layer)));
        assert!(all.all_wait(&set(layer, &["q_down"]), &cached(layer)));
    }
    assert!(all.all_wait(&gate_up(0), &attention(1)));
    assert!(all.all_wait(&gate_up(0), &set(1, &["q_down"])));
    assert!(all.all_wait(&network(0), &heads(1)));
    assert!(!all.all_wait(&set(1, &["q_down"]), &set(1, &["q_up"])));
    assert!(!all.all_wait(&set(1, &["kv_down"]), &cached(1)), "only the new token's");
}

#[test]
fn stages_of_linear_attention_wait_for_all_of_the_one_before() {
    let all = model(linear);
    let attention = |layer| set(layer, &["q", "k", "v", "gate_of_output", "strength", "state"]);
    let network = |layer| set(layer, &["gate", "up", "down"]);
    for layer in 0..2 {
        assert!(all.all_wait(&attention(layer), &network(layer)));
    }
    assert!(all.all_wait(&set(0, &["gate", "up"]), &attention(1)));
    assert!(all.all_wait(&network(0), &set(1, &["state"])));
    assert!(!all.all_wait(&network(0), &attention(1)));
}

#[test]
fn the_lm_head_and_the_next_token_wait_for_all() {
    for attention in [grouped as Attention, latent, linear] {
        let all = model(attention);
        let head = Set(vec!["head".into()]);
        assert!(all.all_wait(&set(1, &["gate", "up"]), &head));
        assert!(!all.all_wait(&set(1, &["down"]), &head));
        let first = ["q", "k", "v", "q_down", "kv_down"].into_iter().map(|name| format!("2.{name}"));
        let first = Set(first.filter(|name| all.groups.contains_key(name)).collect());
        assert!(all.all_wait(&head, &first));
        assert!(all.all_wait(&set(1, &["gate", "up", "down"]), &first));
    }
}
