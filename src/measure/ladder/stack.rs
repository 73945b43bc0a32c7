//! The stack ladder: what each layer between a command line and the kernel adds.
//!
//! ```text
//!   process ─► container ─► runc ─► containerd ─► dockerd ─► docker
//!                             └─► podman  └─► cri
//! ```
//! All of them run in the same blocks, so each layer is a paired difference to the one below it.

use std::collections::BTreeMap;

use super::estimate::{Values, centre, values};
use crate::backend::Configuration;
use crate::backend::engine::kind::{EngineKind, EngineNetwork, Lifecycle, OciRuntime};
use crate::measure::balance;
use crate::measure::summary::LEVEL;
use crate::metric::{PRIVATE, STARTUP, TEARDOWN};
use crate::store::document::{DifferenceResult, LadderResult, RungResult, TotalResult};
use crate::store::record::Record;

/// In `run.json` and on the command line.
pub const NAME: &str = "docker";

/// A layer, and what it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The layer.
    pub configuration: Configuration,
    /// What it is seen on top of.
    pub over: Configuration,
}

/// Where it stands.
#[must_use]
pub const fn base() -> Configuration {
    Configuration::Process
}

/// Where it ends.
#[must_use]
pub const fn top() -> Configuration {
    Configuration::Engine(EngineKind::Docker(EngineNetwork::None))
}

/// The layers on the way up, then those beside it.
#[must_use]
pub fn layers() -> Vec<Layer> {
    let engine = Configuration::Engine;
    let runc = engine(EngineKind::Oci(OciRuntime::Runc, Lifecycle::Steps));
    let containerd = engine(EngineKind::Containerd);
    let mut below = base();
    let way_up = [
        Configuration::container(),
        runc.clone(),
        containerd.clone(),
        engine(EngineKind::Dockerd(EngineNetwork::None)),
        top(),
    ];
    let mut layers: Vec<Layer> = way_up
        .into_iter()
        .map(|configuration| Layer {
            over: std::mem::replace(&mut below, configuration.clone()),
            configuration,
        })
        .collect();
    for (name, over) in [(EngineKind::Podman, runc), (EngineKind::Cri, containerd)] {
        layers.push(Layer {
            configuration: engine(name),
            over,
        });
    }
    layers
}

/// All of them, reference first.
#[must_use]
pub fn configurations() -> Vec<Configuration> {
    let layers = layers().into_iter().map(|layer| layer.configuration);
    let mut all: Vec<_> = [base()].into_iter().chain(layers).collect();
    all.sort_unstable();
    all
}

/// The ladder's estimates: each layer over the one below it, and over the bare process.
#[must_use]
pub fn estimate(records: &[Record]) -> LadderResult {
    let mut result = LadderResult {
        name: NAME.to_owned(),
        base: base().id(),
        top: top().id(),
        rungs: Vec::new(),
        totals: Vec::new(),
        debts: Vec::new(),
    };
    for metric in [STARTUP, TEARDOWN, PRIVATE] {
        let values = if metric == PRIVATE {
            memory(records)
        } else {
            values(records, &metric)
        };
        for layer in layers() {
            let (id, over) = (layer.configuration.id(), layer.over.id());
            result.rungs.push(RungResult {
                added: difference(&values, &id, &over),
                alone: difference(&values, &id, &result.base),
                mechanism: id,
                metric: metric.name.to_owned(),
                over: Some(over),
                left_out: None,
                interaction: None,
            });
        }
        if let Some(together) = difference(&values, &result.top, &result.base) {
            result.totals.push(TotalResult {
                metric: metric.name.to_owned(),
                together,
                unexplained: None,
            });
        }
    }
    result
}

/// Private memory of an instance: configuration id → round → bytes.
fn memory(records: &[Record]) -> Values {
    let of = |id: &str| -> BTreeMap<u64, f64> {
        let rounds = balance::rounds(records, id).into_iter();
        let one = |(number, round)| Some((u64::from(number), balance::private(&round)?));
        rounds.filter_map(one).collect()
    };
    let ids = configurations().into_iter().map(|c| c.id());
    ids.map(|id| (id.clone(), of(&id))).collect()
}

/// In every block that has both.
fn difference(values: &Values, with: &str, without: &str) -> Option<DifferenceResult> {
    let (with, without) = (values.get(with)?, values.get(without)?);
    let more = with
        .iter()
        .filter_map(|(block, value)| Some((*block, value - without.get(block)?)));
    centre(more.collect(), LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_stands_on_one_that_is_measured_too() {
        let all = configurations();
        assert_eq!(all[0], base());
        let layers = layers();
        assert_eq!(all.len(), layers.len() + 1);
        for layer in &layers {
            assert!(all.contains(&layer.over) && all.contains(&layer.configuration));
            assert_ne!(layer.over, layer.configuration);
        }
        assert!(all.contains(&top()));
    }

    /// The drift of a block is on both sides; a layer that did not run has no number, and neither has
    /// what stands on it.
    #[test]
    fn each_layer_is_a_difference_inside_blocks() {
        let cost = [("process", 1.0), ("container", 3.0), ("runc", 10.0)];
        let of = |cost: f64| {
            (0..20)
                .map(|b: u64| (b, cost + (b % 5) as f64 * 100.0))
                .collect()
        };
        let values: Values = cost
            .iter()
            .map(|(id, cost)| ((*id).to_owned(), of(*cost)))
            .collect();
        let added = difference(&values, "runc", "container").unwrap();
        assert_eq!((added.difference, added.pairs), (7.0, 20));
        assert_eq!(difference(&values, "containerd", "runc"), None);
    }
}
