//! Facts about the host and the run as text in its place.

use super::format;
use crate::host::noise::Noise;
use crate::host::settings;
use crate::metric::Unit;
use crate::store::document::Run;

/// What a reader must know of the host, the payload and the run, `name: value`.
pub(super) fn facts(run: &Run) -> Vec<(String, String)> {
    let host = &run.host;
    let fact = |name: &str, value: String| (name.to_owned(), value);
    vec![
        fact(
            "payload",
            format!("{} bytes, sha256 {}", run.payload.bytes, run.payload.sha256),
        ),
        fact(
            "host",
            format!(
                "{}{}, {} CPUs, {}",
                host.cpu,
                if host.virtual_machine {
                    " (itself virtual)"
                } else {
                    ""
                },
                host.cpus,
                format::quantity(host.memory as f64, Unit::Bytes)
            ),
        ),
        fact("kernel", host.kernel.clone()),
        fact(
            "isolation",
            format!(
                "KVM {}, cgroup {}, run as {}",
                host.kvm, host.cgroup, host.user
            ),
        ),
        fact(
            "clock",
            format!(
                "time-stamp counter {} MHz, CPUs agree within {} ns, one reading {} ns",
                format::significant(host.clock.hz / 1e6),
                format::significant(host.clock.skew_ns),
                format::significant(host.clock.read_ns)
            ),
        ),
        fact("noise", noise(&host.noise)),
        fact("settings", host_settings(&host.noise)),
        fact(
            "run",
            format!(
                "{}, seed {}, isobench {} ({})",
                run.id, run.seed, run.tool.version, run.tool.commit
            ),
        ),
    ]
}

/// What happened on the host meanwhile; a counter that the kernel does not show is `unavailable`.
fn noise(noise: &Noise) -> String {
    let value = |value: Option<f64>, unit: &str| {
        value.map_or_else(settings::unavailable, |value| {
            format!("{}{unit}", format::significant(value))
        })
    };
    format!(
        "steal {}, load {} → {}, pressure on CPU {}, memory {}, I/O {}, context switches {}, \
         throttled by heat {}, by quota {}",
        value(noise.steal_percent, " %"),
        value(noise.load_before, ""),
        value(noise.load_after, ""),
        value(noise.cpu_pressure_percent, " %"),
        value(noise.memory_pressure_percent, " %"),
        value(noise.io_pressure_percent, " %"),
        value(noise.context_switches_per_second, " a second"),
        value(noise.throttle_events.map(|events| events as f64), " times"),
        value(noise.quota_percent, " %"),
    )
}

fn host_settings(noise: &Noise) -> String {
    let mitigations = noise.mitigations.as_ref().map(Vec::len);
    format!(
        "governor {}, turbo {}, THP {}, ASLR {}, mitigations {}, {}",
        noise.governor,
        noise.turbo,
        noise.transparent_hugepage,
        noise.aslr,
        mitigations.map_or_else(settings::unavailable, |n| n.to_string()),
        if noise.kvm_parameters.is_empty() {
            "no KVM module".to_owned()
        } else {
            noise.kvm_parameters.join(" ")
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_the_kernel_does_not_show_is_unavailable() {
        let mut host = Noise::detect();
        host.steal_percent = Some(0.0);
        let text = noise(&host);
        assert!(text.starts_with("steal 0 %, load unavailable"), "{text}");
        assert!(text.ends_with("by quota unavailable"), "{text}");
        (host.mitigations, host.kvm_parameters) = (None, Vec::new());
        let text = host_settings(&host);
        assert!(
            text.ends_with("mitigations unavailable, no KVM module"),
            "{text}"
        );
    }
}
