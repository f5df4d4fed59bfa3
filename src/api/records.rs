//! Questions to the records beside the list of them: exports, callers to be called back, reports.
//!
//! Owns who may ask. What is answered, and its bounds, are in [`crate::records`].

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::Deserialize;

use super::backend::{CdrQuery, Unavailable};
use super::commands::require;
use super::error::{ErrorBody, ErrorCode};
use super::page::{Page, read_condition};
use super::routes::Who;
use super::server::Api;
use super::words::Role;
use crate::records::reports::{self, Interval};
use crate::records::{self, export};

/// Which records become a file, and how.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ExportQuery {
    /// What must hold: a condition as JSON. All records if nothing is said.
    #[serde(rename = "where")]
    condition: Option<String>,
    /// What the file is; CSV if nothing is said.
    format: FileFormat,
    /// The zone of the times by its name in the tz database, such as `Europe/Berlin`; UTC if
    /// nothing is said.
    zone: Option<String>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum FileFormat {
    /// RFC 4180.
    #[default]
    Csv,
    /// An Excel workbook.
    Xlsx,
}

/// Between which times.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CallbacksQuery {
    /// Entered the queue at or after, in Unix milliseconds.
    from: Option<u64>,
    /// Entered the queue before, in Unix milliseconds.
    to: Option<u64>,
}

fn reader(api: &Api) -> Result<records::Reader, ErrorBody> {
    Ok(api.backend.records().ok_or(Unavailable::Store)?)
}

pub(super) async fn exported(
    api: web::Data<Api>,
    who: Who,
    query: web::Query<ExportQuery>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let wrong = |what: String| ErrorBody::new(ErrorCode::BadRequest, what);
    let condition = query.condition.as_deref().map(read_condition).transpose()?;
    let zone = match &query.zone {
        Some(name) => {
            TimeZone::get(name).map_err(|_| wrong(format!("{name:?} is no time zone")))?
        }
        None => TimeZone::UTC,
    };
    // One more tells whether there are too many.
    let limit = export::ROWS_MAX + 1;
    let wanted = CdrQuery { condition, limit, ..CdrQuery::default() };
    let rows = reader(&api)?.ask(move |from| records::cdrs(from, &wanted)).await?;
    if rows.len() > export::ROWS_MAX {
        let max = export::ROWS_MAX;
        return Err(wrong(format!("these are more than {max} records; ask for fewer at a time")));
    }
    let format = query.format;
    let file = web::block(move || match format {
        FileFormat::Csv => Ok(export::csv(&rows, &zone).into_bytes()),
        FileFormat::Xlsx => export::xlsx(&rows, &zone),
    });
    let file = file.await.map_err(|_| Unavailable::Stopping)?.map_err(|error| {
        tracing::error!(%error, "a workbook cannot be written");
        Unavailable::Store
    })?;
    let (kind, name) = match format {
        FileFormat::Csv => ("text/csv; charset=utf-8; header=present", "calls.csv"),
        FileFormat::Xlsx => {
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "calls.xlsx")
        }
    };
    let saved = (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""));
    Ok(HttpResponse::Ok().content_type(kind).insert_header(saved).body(file))
}

pub(super) async fn callbacks(
    api: web::Data<Api>,
    who: Who,
    query: web::Query<CallbacksQuery>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let between = (query.from.unwrap_or(0), query.to.unwrap_or(u64::MAX));
    let items = reader(&api)?.ask(move |from| records::callbacks(from, between)).await?;
    Ok(HttpResponse::Ok().json(Page { items, next: None }))
}

pub(super) async fn queue_report(
    api: web::Data<Api>,
    who: Who,
    query: web::Query<Interval>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let over = query.into_inner();
    let items = reader(&api)?.ask(move |from| reports::queues(from, &over)).await?;
    Ok(HttpResponse::Ok().json(Page { items, next: None }))
}

pub(super) async fn agent_report(
    api: web::Data<Api>,
    who: Who,
    query: web::Query<Interval>,
) -> Result<HttpResponse, ErrorBody> {
    require(&who.0, Role::Supervisor)?;
    let over = query.into_inner();
    let items = reader(&api)?.ask(move |from| reports::agents(from, &over)).await?;
    Ok(HttpResponse::Ok().json(Page { items, next: None }))
}
