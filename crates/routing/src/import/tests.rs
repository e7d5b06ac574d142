//! Each format with a small file of our own, and what is refused.

use super::*;
use crate::export;

fn read(bytes: &[u8]) -> Imported {
    import(bytes, &Shape::default()).unwrap()
}

fn tokens(bytes: &[u8], shape: &Shape) -> Vec<Vec<Vec<u16>>> {
    let Imported::Tokens(trace) = import(bytes, shape).unwrap() else { panic!("counts") };
    (0..trace.len())
        .map(|token| (0..trace.header.layers).map(|layer| trace.chosen(token, layer).to_vec()).collect())
        .collect()
}

fn counts(bytes: &[u8]) -> Vec<Vec<u64>> {
    match read(bytes) {
        Imported::Counts(counts) => counts.layers,
        Imported::Tokens(trace) => panic!("tokens: {}", trace.header.note),
    }
}

#[test]
fn counts_come_in_many_forms() {
    let expected = vec![vec![90, 132, 40, 61], vec![20, 107, 104, 64]];
    for text in [
        "[[90,132,40,61],[20,107,104,64]]",
        r#"{"logical_count": [[90,132,40,61],[0,0,0,0],[20,107,104,64]]}"#,
        r#"{"logical_count": [[[80,132,40,60],[20,100,104,60]],[[10,0,0,1],[0,7,0,4]]]}"#,
        "90,132,40,61\n20,107,104,64\n",
        "layer,expert,count\n3,0,90\n3,1,132\n3,2,40\n3,3,61\n7,0,20\n7,1,107\n7,2,104\n7,3,64\n",
    ] {
        assert_eq!(counts(text.as_bytes()), expected, "{text}");
    }
    assert_eq!(counts(b"layer,expert\n0,1\n0,2\n1,3\n1,0\n"), [[0, 1, 1, 0], [1, 0, 0, 1]]);
    assert_eq!(counts(b"0,1\n0,1\n"), [[0, 2]]);
    assert_eq!(counts(b"layer_id,expert_ids\n3,1 2\n3,1 0\n"), [[1, 2, 1]]);
    // Moving averages keep their ratios.
    let averages = counts(b"[[0.5, 0.25], [1.0, 0.0]]");
    assert_eq!(averages[0][0], 2 * averages[0][1]);
}

#[test]
fn tokens_come_in_many_forms() {
    let expected = vec![vec![vec![1, 2], vec![3, 0]], vec![vec![0, 2], vec![1, 3]]];
    let all = Shape::default();
    for text in [
        r#"{"routed_experts":[[[1,2],[3,0]],[[0,2],[1,3]]]}"#,
        r#"{"prompt_routed_experts":[[[1,2],[3,0]]],"choices":[{"routed_experts":[[[0,2],[1,3]]]}]}"#,
        // A dense layer, and a row of zeros at the end.
        r#"{"routed_experts":[[[0,0],[1,2],[3,0]],[[0,0],[0,2],[1,3]],[[0,0],[0,0],[0,0]]]}"#,
        "[[[1,2],[3,0]],[[0,2],[1,3]]]",
        "phase,token,layer,rank,expert\nprefill,0,2,0,1\nprefill,0,2,1,2\nprefill,0,5,1,0\nprefill,0,5,0,3\n\
         decode,0,2,0,0\ndecode,0,2,1,2\ndecode,0,5,0,1\ndecode,0,5,1,3\n",
        "{\"step\":4,\"layer\":2,\"rank\":0,\"topk\":2,\"top_indices\":[[1,2],[0,2]]}\n\
         {\"step\":4,\"layer\":3,\"rank\":0,\"topk\":2,\"top_indices\":[[3,0],[1,3]]}\n",
    ] {
        assert_eq!(tokens(text.as_bytes(), &all), expected, "{text}");
    }
    let Imported::Tokens(trace) = read(br#"{"routed_experts":[[[1,2],[3,0]],[[0,2],[1,3]]]}"#) else { panic!() };
    assert_eq!((trace.header.experts, trace.header.top_k), (4, 2));
    let mut array = Vec::new();
    export::npy(&trace, &mut array).unwrap();
    assert_eq!(tokens(&array, &all), expected);
    let mut lists = Vec::new();
    export::routed_experts(&trace, &mut lists).unwrap();
    assert_eq!(tokens(&lists, &all), expected);
    let mut load = Vec::new();
    export::logical_count(&Counts::of(&trace), &mut load).unwrap();
    assert_eq!(counts(&load), [[1, 1, 2, 0], [1, 1, 0, 2]]);
    // AQAAAAIAAAADAAAAAAAAAAAAAAACAAAAAQAAAAMAAAA=: eight int32, whose shape the model says.
    let shape = Shape { layers: Some(2), top_k: Some(2), experts: Some(8), ..Shape::default() };
    let text = r#"{"meta_info": {"routed_experts": "AQAAAAIAAAADAAAAAAAAAAAAAAACAAAAAQAAAAMAAAA="}}"#;
    assert_eq!(tokens(text.as_bytes(), &shape), expected);
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_do() {
    for (bytes, expected) in [
        (&b"PAR1"[..], "seen as Parquet: convert it: pandas.read_parquet"),
        (b"\x80\x04abc", "seen as a pickle: is not opened, since it can run code"),
        (b"version https://git-lfs.github.com/spec/v1\n", "seen as a pointer of Git LFS"),
        (b"", "seen as an empty file: known are"),
        (b"\xff\xfe", "byte 0 is no text"),
        (b"a,b\n1,2\n", "seen as a table: columns a,b; allowed: layer and expert"),
        (b"{\"x\": 1}", "seen as a JSON object: keys x; known are"),
        (b"{\"physical_to_logical_map\": [[0]]}", "a placement of experts, which says nothing of their load"),
        (b"[[1,2],[3]]", "row 2 has 1 numbers, the first has 2"),
        (b"[[0,0]]", "no expert was chosen in any layer"),
        (b"[[-1,2]]", "-1 is no count"),
        (br#"{"routed_experts":[[[1,2]],[[0,0]],[[0,1]]]}"#, "token 1: expert is 0; allowed: different experts"),
        (br#"{"meta_info": {"routed_experts": "AQAAAA=="}}"#, "has no shape: --model says how many layers"),
        (b"layer,expert\n0,99999999\n", "line 2: layer 0, expert 99999999; allowed: 0 to 65535"),
        (b"PK\x03\x04", "seen as a zip archive"),
        (b"\x93NUMPY\x01\x00\xff", "seen as .npy: ends in its header"),
    ] {
        let message = import(bytes, &Shape::default()).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn no_bytes_make_it_panic(start in 0..7_usize, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let starts: [&[u8]; 7] =
            [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"[[", b"layer,expert\n", b"{\"routed_experts\":", b"\x1f\x8b"];
        let mut all = starts[start].to_vec();
        all.extend(bytes);
        let _outcome = import(&all, &Shape::default());
    }
}
