//! JUnit XML, as test reporters read it: a suite a configuration, a test case a metric.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::measure::comparison::{Compared, Comparison, Word};
use crate::report::compare::{cause, missing, percent, remarks, sentence};

/// Worse is a failure; inconclusive or missing an error, since a gate does not pass it either.
///
/// # Errors
/// What was written is no UTF-8, which nothing here can make it.
pub fn render(c: &Comparison) -> Result<String, quick_junit::SerializeError> {
    let mut report = Report::new("isobench compare");
    let mut backends: Vec<&str> = Vec::new();
    let all = c.metrics.iter().map(|m| m.backend.as_str());
    for backend in all.chain(c.missing.iter().map(|m| m.backend.as_str())) {
        if !backends.contains(&backend) {
            backends.push(backend);
        }
    }
    for backend in backends {
        let mut suite = TestSuite::new(backend);
        suite.add_property(("base", c.base.id.as_str()));
        suite.add_property(("head", c.head.id.as_str()));
        for m in c.metrics.iter().filter(|m| m.backend == backend) {
            suite.add_test_case(case(m));
        }
        for m in c.missing.iter().filter(|m| m.backend == backend) {
            let name = format!(
                "{} {}",
                m.workload.as_deref().unwrap_or("everything"),
                m.metric.unwrap_or("everything")
            );
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type("missing").set_message(missing(m));
            suite.add_test_case(named(name, backend, status));
        }
        report.add_test_suite(suite);
    }
    if report.test_suites.is_empty() {
        // A report without a test would pass.
        let mut suite = TestSuite::new("isobench");
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_type("inconclusive").set_message(sentence(c));
        suite.add_test_case(named("anything in common".to_owned(), "isobench", status));
        report.add_test_suite(suite);
    }
    if let Some(suite) = report.test_suites.first_mut() {
        let said: Vec<String> = remarks(c).into_iter().chain([sentence(c)]).collect();
        suite.set_system_out(said.join("\n"));
    }
    // Nothing is ever skipped here, and Jenkins' schema (junit-10.xsd) has no such count for the whole.
    Ok(report.to_string()?.replacen(" skipped=\"0\"", "", 1))
}

fn named(name: String, backend: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(format!("isobench.{backend}"));
    case
}

fn case(m: &Compared) -> TestCase {
    let change = m.ratio.map(percent).unwrap_or_default();
    let status = match m.verdict {
        Word::Worse => {
            let cause = cause(m).map(|c| format!(", {c}")).unwrap_or_default();
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status
                .set_type("worse")
                .set_message(format!("HEAD over BASE {change}{cause}"));
            status
        }
        Word::Inconclusive => {
            let why = m.doubt.as_ref().map(|d| d.words.clone());
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status
                .set_type("inconclusive")
                .set_message(why.unwrap_or_default());
            status
        }
        Word::Better | Word::Same => TestCaseStatus::success(),
    };
    let mut case = named(format!("{} {}", m.workload, m.metric), &m.backend, status);
    case.set_system_out(format!("{} {change}", m.verdict.name()));
    case
}
