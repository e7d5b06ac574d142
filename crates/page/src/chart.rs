//! Charts as Vega-Lite specifications: what is drawn follows from records; sizes and colors of the theme are the
//! page's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::document::{Chart, Data, Record};

/// Color of what takes time away, of what adds to it, and of a whole: told apart in dark and light, and without red
/// and green.
const LESS: &str = "#59a14f";
const MORE: &str = "#e15759";
const WHOLE: &str = "#4e79a7";

/// Labels of the vertical axis stay whole up to here.
const LABELS: u32 = 210;

fn chart(title: &str, description: &str, records: Vec<Record>, spec: Value) -> Option<Chart> {
    (!records.is_empty()).then(|| Chart { title: title.into(), description: description.into(), records, spec })
}

/// Height of a chart with a row of so many pixels for each name.
fn height(records: &[Record], row: usize) -> usize {
    let names: BTreeSet<&str> = records.iter().filter_map(|record| record.0.get("name")?.as_str()).collect();
    row * names.len().max(1)
}

/// A bar for each place, with its name, and a line at a target.
#[derive(Debug, Clone)]
pub struct Bars<'a> {
    /// Title of the chart.
    pub title: &'a str,
    /// What can be seen.
    pub description: &'a str,
    /// What the bars count, with its unit.
    pub axis: &'a str,
    /// Names with places.
    pub bars: Vec<(String, String)>,
    /// Place of the line.
    pub target: Option<&'a str>,
}

impl Bars<'_> {
    /// The chart; nothing where no bar has a number.
    pub fn chart(self, data: &Data) -> Option<Chart> {
        let record =
            |(name, place): &(String, String)| Record::new().with("name", name.clone()).at(data, "value", place);
        let records: Vec<Record> = self.bars.iter().filter_map(record).collect();
        let target = self.target.and_then(|place| data.number(place));
        // Numbers stand behind the bars.
        let values = records.iter().filter_map(|record| record.0.get("value")?.as_f64());
        let most = values.chain(target).fold(0.0, f64::max);
        let bars = json!({
            "mark": { "type": "bar", "color": WHOLE, "height": { "band": 0.7 } },
            "encoding": {
                "y": category("name"),
                "x": {
                    "field": "value", "type": "quantitative", "title": self.axis,
                    "scale": { "domainMax": most * 1.2 }, "axis": { "tickCount": 8 }
                },
                "tooltip": tooltip(&[("name", ""), ("value", self.axis)]),
            }
        });
        let numbers = json!({
            "mark": { "type": "text", "align": "left", "dx": 4 },
            "encoding": {
                "y": category("name"),
                "x": { "field": "value", "type": "quantitative" },
                "text": { "field": "value", "type": "quantitative", "format": ",.4~r" },
            }
        });
        let layers = [bars, numbers].into_iter().chain(target.map(|target| rule("x", target))).collect::<Vec<_>>();
        let spec = json!({ "layer": layers, "height": height(&records, 30) });
        chart(self.title, self.description, records, spec)
    }
}

/// A line across at a level that is to be reached.
fn rule(channel: &str, value: f64) -> Value {
    json!({
        "data": { "values": [{ "target": value }] },
        "mark": { "type": "rule", "strokeDash": [6, 4], "strokeWidth": 2, "color": MORE },
        "encoding": {
            channel: { "field": "target", "type": "quantitative" },
            "tooltip": [{ "field": "target", "title": "target, tok/s", "format": ",.6~r" }],
        }
    })
}

fn category(field: &str) -> Value {
    json!({ "field": field, "type": "nominal", "sort": null, "title": null, "axis": { "labelLimit": LABELS } })
}

fn tooltip(fields: &[(&str, &str)]) -> Value {
    let field = |(field, title): &(&str, &str)| {
        if title.is_empty() {
            json!({ "field": field, "title": field })
        } else {
            json!({ "field": field, "title": title, "type": "quantitative", "format": ",.6~r" })
        }
    };
    fields.iter().map(field).collect()
}

/// Totals from first to last, and between two of them the step from one to the other.
#[derive(Debug, Clone)]
pub struct Steps<'a> {
    /// Title of the chart.
    pub title: &'a str,
    /// What can be seen.
    pub description: &'a str,
    /// What is counted, with its unit.
    pub axis: &'a str,
    /// Names with places, from the largest to the smallest.
    pub totals: Vec<(String, String)>,
}

impl Steps<'_> {
    /// The chart; nothing where no total has a number.
    pub fn chart(self, data: &Data) -> Option<Chart> {
        let known: Vec<&(String, String)> =
            self.totals.iter().filter(|(_, place)| data.number(place).is_some()).collect();
        let mut records = Vec::new();
        for (index, (name, place)) in known.iter().enumerate() {
            if let Some((_, before)) = index.checked_sub(1).and_then(|before| known.get(before)) {
                let is_more = data.number(place) > data.number(before);
                let step = Record::new().with("name", format!("to {name}"));
                let step = step.with("kind", if is_more { "slower" } else { "faster" });
                records.extend(step.at(data, "from", before).and_then(|step| step.at(data, "to", place)));
            }
            let total = Record::new().with("name", name.clone()).with("kind", "time").with("from", 0);
            records.extend(total.at(data, "to", place));
        }
        let spec = json!({
            "mark": { "type": "bar", "height": { "band": 0.7 } },
            "encoding": {
                "y": category("name"),
                "x": { "field": "to", "type": "quantitative", "title": self.axis },
                "x2": { "field": "from" },
                "color": {
                    "field": "kind", "type": "nominal", "title": null,
                    "scale": { "domain": ["time", "faster", "slower"], "range": [WHOLE, LESS, MORE] },
                    "legend": { "orient": "bottom" },
                },
                "tooltip": tooltip(&[("name", ""), ("from", "from, us"), ("to", "to, us")]),
            },
            "height": height(&records, 26),
        });
        chart(self.title, self.description, records, spec)
    }
}

/// Bars of several parts.
#[derive(Debug, Clone)]
pub struct Stacked<'a> {
    /// Title of the chart.
    pub title: &'a str,
    /// What can be seen.
    pub description: &'a str,
    /// What is counted, with its unit.
    pub axis: &'a str,
    /// Name of the bar, name of the part, place.
    pub parts: Vec<(String, String, String)>,
}

impl Stacked<'_> {
    /// The chart; nothing where no part has a number.
    pub fn chart(self, data: &Data) -> Option<Chart> {
        let record = |(order, (name, part, place)): (usize, &(String, String, String))| {
            let record = Record::new().with("name", name.clone()).with("part", part.clone()).with("order", order);
            record.at(data, "value", place)
        };
        let records: Vec<Record> = self.parts.iter().enumerate().filter_map(record).collect();
        let spec = json!({
            "mark": { "type": "bar", "height": { "band": 0.7 } },
            "encoding": {
                "y": category("name"),
                "x": { "field": "value", "type": "quantitative", "title": self.axis },
                "color": {
                    "field": "part", "type": "nominal", "title": null, "sort": null,
                    "scale": { "scheme": "tableau10" }, "legend": { "orient": "bottom", "columns": 4 },
                },
                "order": { "field": "order" },
                "tooltip": tooltip(&[("name", ""), ("part", ""), ("value", self.axis)]),
            },
            "height": height(&records, 22),
        });
        chart(self.title, self.description, records, spec)
    }
}

/// A bar from a low to a high for each name, with a line at what holds now.
#[derive(Debug, Clone)]
pub struct Spans<'a> {
    /// Title of the chart.
    pub title: &'a str,
    /// What can be seen.
    pub description: &'a str,
    /// What is counted, with its unit.
    pub axis: &'a str,
    /// Names with the places of objects that have `low` and `high`.
    pub spans: Vec<(String, String)>,
    /// Place of the value that holds now.
    pub now: &'a str,
    /// Place of what is to be reached.
    pub target: Option<&'a str>,
}

impl Spans<'_> {
    /// The chart; nothing where no span has numbers.
    pub fn chart(self, data: &Data) -> Option<Chart> {
        let record = |(name, place): &(String, String)| {
            let record = Record::new().with("name", name.clone()).at(data, "low", format!("{place}/low"))?;
            record.at(data, "high", format!("{place}/high"))?.at(data, "now", self.now)
        };
        let records: Vec<Record> = self.spans.iter().filter_map(record).collect();
        let spans = json!({
            "mark": { "type": "bar", "color": WHOLE, "height": { "band": 0.6 } },
            "encoding": {
                "y": category("name"),
                "x": {
                    "field": "low", "type": "quantitative", "title": self.axis, "scale": { "zero": false, "nice": true }
                },
                "x2": { "field": "high" },
                "tooltip": tooltip(&[("name", ""), ("low", "low"), ("high", "high"), ("now", "as it is")]),
            }
        });
        let now = json!({
            "mark": { "type": "tick", "thickness": 2, "color": MORE },
            "encoding": { "y": category("name"), "x": { "field": "now", "type": "quantitative" } }
        });
        let target = self.target.and_then(|place| data.number(place));
        let layers: Vec<Value> = [spans, now].into_iter().chain(target.map(|target| rule("x", target))).collect();
        let spec = json!({ "layer": layers, "height": height(&records, 24) });
        chart(self.title, self.description, records, spec)
    }
}

/// For each name a bar from its low to its high, with a line at what is expected.
#[derive(Debug, Clone)]
pub struct Reaches<'a> {
    /// Title of the chart.
    pub title: &'a str,
    /// What can be seen.
    pub description: &'a str,
    /// What is counted, with its unit.
    pub axis: &'a str,
    /// Numbers of the JSON are drawn by so many.
    pub per: f64,
    /// Names with the places of low, expected and high.
    pub rows: Vec<(String, [String; 3])>,
}

impl Reaches<'_> {
    /// The chart; nothing where no row has all three numbers.
    pub fn chart(self, data: &Data) -> Option<Chart> {
        let record = |(name, [low, expected, high]): &(String, [String; 3])| {
            let record = Record::new().with("name", name.clone()).at(data, "low", &**low)?;
            record.at(data, "expected", &**expected)?.at(data, "high", &**high)
        };
        let records: Vec<Record> = self.rows.iter().filter_map(record).collect();
        let bars = json!({
            "mark": { "type": "bar", "color": WHOLE, "height": { "band": 0.5 } },
            "encoding": {
                "y": category("name"),
                "x": { "field": "from", "type": "quantitative", "title": self.axis, "scale": { "zero": true } },
                "x2": { "field": "to" },
                "tooltip": tooltip(&[("name", ""), ("from", "low"), ("at", "expected"), ("to", "high")]),
            }
        });
        let expected = json!({
            "mark": { "type": "tick", "thickness": 3, "color": MORE },
            "encoding": { "y": category("name"), "x": { "field": "at", "type": "quantitative" } }
        });
        let numbers = json!({
            "mark": { "type": "text", "dy": -14, "fontSize": 10 },
            "encoding": {
                "y": category("name"),
                "x": { "field": "at", "type": "quantitative" },
                "text": { "field": "at", "type": "quantitative", "format": ",.4~r" },
            }
        });
        let drawn = [("low", "from"), ("expected", "at"), ("high", "to")];
        let drawn = drawn.map(|(of, to)| json!({ "calculate": format!("datum.{of} / {}", self.per), "as": to }));
        let spec = json!({ "transform": drawn, "layer": [bars, expected, numbers], "height": height(&records, 40) });
        chart(self.title, self.description, records, spec)
    }
}

/// Points of series over two axes.
#[derive(Debug, Clone)]
pub struct Points<'a> {
    /// Title of the chart.
    pub title: &'a str,
    /// What can be seen.
    pub description: &'a str,
    /// What is counted along the axis below.
    pub x: &'a str,
    /// What is counted along the axis at the left.
    pub y: &'a str,
    /// The points.
    pub points: Vec<ChartPoint>,
    /// Level of `y` that is to be reached.
    pub target: Option<f64>,
    /// Whether the axis below is logarithmic.
    pub logarithmic: bool,
}

/// A point of a series.
#[derive(Debug, Clone)]
pub struct ChartPoint {
    /// The series.
    pub series: String,
    /// Written beside it.
    pub label: String,
    /// Place of its value along the axis below.
    pub x: String,
    /// Place of its value along the axis at the left.
    pub y: String,
}

impl Points<'_> {
    /// The chart; nothing where no point has both numbers.
    pub fn chart(self, data: &Data) -> Option<Chart> {
        let record = |(order, point): (usize, &ChartPoint)| {
            let record = Record::new().with("series", point.series.clone()).with("label", point.label.clone());
            record.with("order", order).at(data, "x", &*point.x)?.at(data, "y", &*point.y)
        };
        let records: Vec<Record> = self.points.iter().enumerate().filter_map(record).collect();
        let above_zero = records.iter().all(|record| record.0.get("x").and_then(Value::as_f64) > Some(0.0));
        let scale = if self.logarithmic && above_zero { json!({ "type": "log" }) } else { json!({ "zero": false }) };
        // Between two wafers there is none.
        let is_whole = records.iter().all(|record| record.0.get("x").is_some_and(Value::is_u64));
        let axis = if is_whole { json!({ "tickMinStep": 1, "format": ",d" }) } else { json!({}) };
        let x = json!({ "field": "x", "type": "quantitative", "title": self.x, "scale": scale, "axis": axis });
        let y = json!({ "field": "y", "type": "quantitative", "title": self.y });
        let one_series = records.windows(2).all(|pair| pair[0].0.get("series") == pair[1].0.get("series"));
        let color = json!({
            "field": "series", "type": "nominal", "title": null, "sort": null,
            "scale": { "scheme": "tableau10" },
            "legend": if one_series { Value::Null } else { json!({ "orient": "bottom", "columns": 3 }) },
        });
        let joined = json!({
            "mark": { "type": "line", "point": { "size": 60, "filled": true } },
            "encoding": {
                "x": x, "y": y, "color": color, "order": { "field": "order" },
                "tooltip": tooltip(&[("series", ""), ("label", ""), ("x", self.x), ("y", self.y)]),
            }
        });
        let labels = json!({
            "mark": { "type": "text", "dy": -10, "fontSize": 10 },
            "encoding": { "x": x, "y": y, "text": { "field": "label" } }
        });
        let layers =
            [Some(joined), (records.len() <= 40).then_some(labels), self.target.map(|target| rule("y", target))];
        let spec = json!({ "layer": layers.into_iter().flatten().collect::<Vec<_>>(), "height": 340 });
        chart(self.title, self.description, records, spec)
    }
}
