//! Reading estimates: a run has a hundred and more, a trend goes through hundreds of runs.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use serde::de::DeserializeOwned;

use super::{Entry, Estimate, Filter};
use crate::metric::{Better, Unit};

/// What estimates of one series have in common.
struct Series {
    backend: String,
    workload: String,
    metric: String,
    unit: Unit,
    better: Better,
}

/// Gives runs, by their number, their estimates that fit.
pub(super) fn read<'a>(
    connection: &Connection,
    filter: &Filter,
    runs: impl Iterator<Item = &'a mut (i64, Entry)>,
) -> rusqlite::Result<()> {
    let series = series(connection, filter)?;
    let mut statement = connection.prepare_cached(include_str!("query/estimates.sql"))?;
    for (number, entry) in runs {
        let mut rows = statement.query([*number])?;
        while let Some(row) = rows.next()? {
            let of: i64 = row.get(0)?;
            if let Some(series) = series.get(&of) {
                entry.estimates.push(estimate(series, row)?);
            }
        }
    }
    Ok(())
}

/// Every series that fits, by its number.
fn series(connection: &Connection, filter: &Filter) -> rusqlite::Result<BTreeMap<i64, Series>> {
    let mut statement = connection.prepare_cached(include_str!("query/series.sql"))?;
    let of = |row: &Row<'_>| {
        Ok((
            row.get(0)?,
            Series {
                backend: row.get(1)?,
                workload: row.get(2)?,
                metric: row.get(3)?,
                unit: word(row, 4)?,
                better: word(row, 5)?,
            },
        ))
    };
    let wanted = params![filter.backend, filter.workload, filter.metric];
    statement.query_map(wanted, of)?.collect()
}

/// A value that is spelled by one of a few words; any other word no program of this schema writes.
fn word<T: DeserializeOwned>(row: &Row<'_>, index: usize) -> rusqlite::Result<T> {
    serde_json::from_value(serde_json::Value::String(row.get(index)?)).map_err(|cause| {
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(cause))
    })
}

fn estimate(series: &Series, row: &Row<'_>) -> rusqlite::Result<Estimate> {
    let ends = |low: Option<f64>, high: Option<f64>| Some([low?, high?]);
    Ok(Estimate {
        backend: series.backend.clone(),
        workload: series.workload.clone(),
        metric: series.metric.clone(),
        unit: series.unit,
        better: series.better,
        n: row.get::<_, i64>(1)?.unsigned_abs(),
        median: row.get(2)?,
        ci95: ends(row.get(3)?, row.get(4)?),
        ratio: row.get(5)?,
        ratio_ci95: ends(row.get(6)?, row.get(7)?),
    })
}
