//! `simctl validate`: tables of measurements, built in and given.

use std::fs;

use crate::surface::{repository, simctl};

const HEADER: &str = "id,device,kernel,grid_x,grid_y,params,metric,value,unit,evidence,source\n";

#[test]
fn the_built_in_table_is_predicted_whole() {
    let json = simctl("validate --format json").json();
    let table = fs::read_to_string(repository("benches/measurements/wse.csv")).unwrap();
    assert_eq!(json["rows"].as_u64(), Some(table.lines().count() as u64 - 1));
    assert_eq!(json["skipped"].as_array().map(Vec::len), Some(0));
    assert!(json["mape_percent"].as_f64().is_some_and(|error| error < 5.0), "{}", json["mape_percent"]);
    let rows: u64 = json["groups"].as_array().unwrap().iter().filter_map(|group| group["rows"].as_u64()).sum();
    assert_eq!(Some(rows), json["rows"].as_u64());
}

#[test]
fn a_given_table_may_name_devices_that_are_given_too() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.csv");
    let rows = "a,wse3,message,2,1,hops=1;words=1,cycles,42,cycles,silicon,x\n\
                b,mine,message,2,1,hops=1;words=1,cycles,42,cycles,silicon,x\n\
                c,wse3,teleport,2,1,,cycles,1,cycles,silicon,x\n";
    fs::write(&data, format!("\u{feff}{HEADER}{rows}")).unwrap();
    let ask = |more: &str| simctl(&format!("validate --data {} {more} --format json", data.display())).json();
    let without = ask("");
    assert_eq!(without["rows"], 1);
    assert_eq!(without["skipped"].as_array().map(Vec::len), Some(2));
    assert!(without["skipped"][0]["why"].as_str().is_some_and(|why| why.contains("no wafer 'mine'")));
    assert_eq!(ask("--wafer mine=wse2")["rows"], 2);
    let file = folder.path().join("mine.toml");
    fs::copy(repository("models/wafer/wse3.toml"), &file).unwrap();
    let by_file = ask(&format!("--wafer {}", file.display()));
    assert_eq!(by_file["predictions"][0]["predicted"], by_file["predictions"][1]["predicted"]);
    let replaced = ask("--wafer wse3=example-dojo-like");
    assert_ne!(replaced["predictions"][0]["predicted"], without["predictions"][0]["predicted"]);
}

#[test]
fn the_other_formats_are_for_people() {
    let text = simctl("validate").data();
    assert!(text.lines().all(|line| line.len() <= 100));
    assert!(text.contains("\nMean absolute error "), "{text}");
    let markdown = simctl("validate --format markdown").data();
    assert!(markdown.contains("| kernel | machine | measured on |"), "{markdown}");
}

/// No constant is changed by a row that it is judged on.
#[test]
fn groups_are_predicted_without_the_constants_that_they_gave() {
    let json = simctl("validate --leave-out --format json").json();
    let groups = json["groups"].as_array().unwrap();
    let named = |group: &serde_json::Value| group["only_themselves"].as_array().map_or(0, Vec::len) as u64;
    let rows: u64 = groups.iter().map(|group| group["rows"].as_u64().unwrap() + named(group)).sum();
    assert_eq!(rows, 139);
    let of = |kernel: &str, device: &str| {
        groups.iter().find(|group| group["kernel"] == kernel && group["device"] == device).unwrap()
    };
    // Nothing was taken from whole layers.
    let layer = of("decode_layer", "wse3");
    assert!(layer["constants"].as_array().unwrap().is_empty());
    assert_eq!(layer["mape_percent"], layer["held_out_percent"]);
    // What the messages gave, other rows know nearly as well.
    let message = of("message", "wse3");
    assert!(message["others"].as_u64().unwrap() > 20 && message["row_by_row"] == false, "{message}");
    assert!(message["held_out_percent"].as_f64().is_some_and(|error| error < 12.0), "{message}");
    // Rounds of collectives know the library's constants too, and gave none.
    let chain = of("chain_gemv", "wse3");
    assert!(chain["row_by_row"] == false && chain["others"].as_u64().unwrap() >= 21, "{chain}");
    assert!(of("library_round", "wse3")["constants"].as_array().unwrap().is_empty());
    let text = simctl("validate --leave-out").data();
    assert!(text.contains("Constants found again") && text.contains("software.library_reduce"), "{text}");
}

/// Today's ratios, so that a change is seen: they are no accuracy, since nobody knows the settings of services.
#[test]
fn services_are_compared_as_they_were() {
    let json = simctl("validate --production --format json").json();
    let records = json["records"].as_array().unwrap();
    let line = |record: &serde_json::Value| {
        let ratio = |of: &serde_json::Value| of["ratio_to_best"].as_f64().unwrap();
        let figures = ["published", "best", "ideal", "no_mapping_beats"].map(|key| record[key].as_f64().unwrap());
        let [published, best, ideal, unbeaten] = figures;
        let is_ordered = match record["metric"].as_str() {
            Some("tok_s_user") => published <= best && best <= ideal && ideal <= unbeaten,
            _ => published >= best && best >= ideal && ideal >= unbeaten,
        };
        assert!(is_ordered, "{record}");
        let draft = record["with_draft"]
            .as_object()
            .map_or_else(String::new, |_| format!(", with a draft {:.2}", ratio(&record["with_draft"])));
        format!("{} {:.2}{draft}\n", record["id"].as_str().unwrap(), ratio(record))
    };
    insta::assert_snapshot!("services", records.iter().map(line).collect::<String>());
    // What is shipped is what comes out; UPDATE_REALISED writes it.
    let classes = json["realised"].as_array().unwrap();
    let shipped = classes.iter().fold("drafts,records,models,low,median,high\n".to_owned(), |text, class| {
        let part = |key: &str| format!("{:.2}", class[key].as_f64().unwrap());
        let [low, median, high] = ["low", "median", "high"].map(part);
        let [drafts, records, models] = ["drafts", "records", "models"].map(|key| class[key].to_string());
        text + &format!("{},{records},{models},{low},{median},{high}\n", drafts.trim_matches('"'))
    });
    let file = repository("benches/measurements/realised.csv");
    if std::env::var_os("UPDATE_REALISED").is_some() {
        fs::write(&file, &shipped).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), shipped, "UPDATE_REALISED=1 writes {}", file.display());
}

#[test]
fn records_of_services_may_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("records.csv");
    let header = "id,model,hf_config_known,metric,value,low,high,context_or_prompt,weights,speculative,wafers,evidence,date,source,notes\n";
    let rows = "a,Llama-3.1-8B,yes,tok_s_user,1767,,,\"prompt 12, 10 out\",fp16,no,1,vendor-claim,2024,x,completion_time 5.658 ms\n\
                b,Unheard-Of-9B,no,tok_s_user,1,,,,,,,independent,2024,x,\n";
    fs::write(&data, format!("{header}{rows}")).unwrap();
    let ask = |more: &str| simctl(&format!("validate --production --search none --data {} {more}", data.display()));
    let json = ask("--format json").json();
    assert_eq!(
        (json["records"].as_array().map(Vec::len), json["skipped"].as_array().map(Vec::len)),
        (Some(1), Some(1))
    );
    assert!(json["realised"].as_array().unwrap().is_empty(), "one record says nothing of services");
    assert!(ask("--format markdown").data().contains("| record | measured |"));
    let text = ask("").data();
    assert!(text.lines().all(|line| line.len() <= 100) && text.contains("no built-in model 'Unheard-Of-9B'"), "{text}");
}
