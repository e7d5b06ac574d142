//! A page that shows the machine as it stands, and what it asks for.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};
use wafersim_stream::service::LimitState;

use super::{Answered, App, failed, json_body, stopping};

const PAGE: &str = include_str!("live_page.html");

pub(super) async fn page() -> Answered {
    let mut answered = Response::new(Body::from(PAGE));
    answered.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    answered
}

pub(super) async fn state(State(app): State<Arc<App>>) -> Answered {
    let Some(state) = app.site.machine.state().await else { return failed(&app, &stopping()) };
    let account = |limits: &Vec<LimitState>| -> Value {
        let limit = |state: &LimitState| {
            json!({
                "limit": format!("{} a {}", state.limit.counted.name(), state.limit.window.name()),
                "quota": state.limit.quota,
                "remaining": state.remaining,
                "reset_seconds": app.clock.seconds(state.reset),
            })
        };
        limits.iter().map(limit).collect()
    };
    let levels = state.levels;
    let body = json!({
        "model": app.site.model,
        "speed": app.site.speed,
        "simulated_seconds": state.now,
        "lag_seconds": state.lag,
        "in_service": levels.in_service,
        "waiting_for_room": levels.room,
        "prompts": levels.prefill,
        "tokens_waiting": levels.entry,
        "passes": levels.passes,
        // Seconds, so that a page takes the share of the time between two looks.
        "wafers_busy_seconds": state.wafers,
        "kv_used": state.used,
        "kv_capacity": state.capacity,
        "prompt_tokens": app.site.metrics.prompt_tokens.get(),
        "generation_tokens": app.site.metrics.generation_tokens.get(),
        "accounts": state.accounts.iter().map(account).collect::<Value>(),
    });
    json_body(StatusCode::OK, &body)
}
