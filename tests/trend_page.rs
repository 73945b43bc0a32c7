//! `isobench history --html`: one page that needs nothing but itself, and says what the history says.

#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

#[path = "history/place.rs"]
mod place;
mod support;
mod synthetic;

use std::fs;

use place::Place;
use support::{status, stderr, stdout};

/// Writes the page of this history.
fn page(place: &Place, flags: &[&str]) -> String {
    let flags = [flags, &["--html", "trends.html"]].concat();
    let output = place.history(&flags);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("trends.html "));
    fs::read_to_string(place.path("trends.html")).unwrap()
}

#[test]
fn the_page_says_what_the_history_says() {
    let place = Place::filled();
    let text = page(&place, &[]);
    let json = place.json(&["--format", "json"]);
    let trends = json["trends"].as_array().unwrap();
    let changes = trends.iter().flat_map(|t| t["changes"].as_array().unwrap());
    let changes: Vec<_> = changes.collect();
    assert!(!changes.is_empty());
    assert_eq!(text.matches("<li class=\"worse\"").count(), changes.len());
    for change in changes {
        let [before, after] = ["before", "after"].map(|end| change[end].as_f64().unwrap());
        let stored = format!("data-v=\"{before} {after}\"");
        // In the sentence, and on its mark and line in the wide chart and in the narrow one.
        assert_eq!(text.matches(&stored).count(), 5, "{stored}");
        assert!(text.contains("commit 0000000, run run-12"), "{change}");
    }
    // A row and a band in each of the two charts for every metric; the newest value in the row.
    assert_eq!(text.matches("<tr data-b=").count(), trends.len());
    assert_eq!(
        text.matches("<g class=\"band\" data-b=").count(),
        2 * trends.len()
    );
    for trend in trends {
        let newest = trend["values"].as_array().unwrap().last().unwrap()["value"]
            .as_f64()
            .unwrap();
        assert!(
            text.contains(&format!("<td class=\"n\" data-v=\"{newest}\">")),
            "{newest}"
        );
        assert_eq!(
            trend["medians"].as_array().unwrap().len(),
            trend["changes"].as_array().unwrap().len() + 1
        );
    }
    // Every run is listed, and every picture reads aloud.
    assert_eq!(text.matches("<th scope=\"row\">run-").count(), 23);
    assert_eq!(
        text.matches("<svg").count(),
        text.matches("role=\"img\" aria-label=\"").count()
    );
    assert!(
        text.contains("container: 16."),
        "the text of a picture tells the newest value"
    );
}

#[test]
fn the_page_needs_nothing_but_itself() {
    let place = Place::filled();
    let text = page(&place, &[]);
    for outside in ["http:", "https:", "src=", "@import", "url(", "charts/"] {
        assert!(!text.contains(outside), "{outside}");
    }
    assert!(text.contains("default-src 'none'"));
    assert!(text.contains("prefers-color-scheme:dark"));
    // Each link leads to a place on the page.
    for link in text.split("href=\"#").skip(1) {
        let name = &link[..link.find('"').unwrap()];
        assert!(text.contains(&format!("id=\"{name}\"")), "{name}");
    }
    assert_eq!(
        page(&place, &[]),
        text,
        "the same history makes the same page"
    );
}

#[test]
fn filters_and_an_empty_history_have_a_page_too() {
    let place = Place::filled();
    let text = page(&place, &["--backend", "container", "--metric", "startup"]);
    assert_eq!(text.matches("<tr data-b=").count(), 1);
    assert!(
        text.contains("1 change for the worse in 24 runs"),
        "heading"
    );
    let none = page(&place, &["--backend", "nobody"]);
    assert!(none.contains("No metric has changed in 0 runs"));
    for bad in [&["--html", "x.html", "--format", "csv"][..], &["--html"]] {
        assert_eq!(status(&place.history(bad)), 2, "{bad:?}");
    }
    // What cannot be written is an error, and what is there stays.
    fs::create_dir(place.path("folder")).unwrap();
    let output = place.history(&["--html", "folder"]);
    assert_eq!(status(&output), 4);
    assert!(stderr(&output).contains("--html"), "{}", stderr(&output));
    assert!(place.path("folder").is_dir());
}

#[test]
fn names_from_outside_are_text() {
    let place = Place::filled();
    let hostile = "\"><script>alert(1)</script>&";
    let mut all = place.json(&["export"]);
    for run in all["runs"].as_array_mut().unwrap() {
        run["project"] =
            serde_json::json!({"commit": "a".repeat(40), "modified": true, "branch": hostile});
        run["cpu"] = hostile.into();
        for estimate in run["estimates"].as_array_mut().unwrap() {
            for name in ["backend", "workload", "metric"] {
                let known = estimate[name].as_str().unwrap();
                estimate[name] = format!("{hostile}{known}").into();
            }
        }
    }
    let other = Place::new();
    fs::write(other.path("all.json"), all.to_string()).unwrap();
    assert_eq!(status(&other.history(&["import", "all.json"])), 0);
    let text = page(&other, &[]);
    assert_eq!(text.matches("<script").count(), 1, "the page's own alone");
    assert!(text.contains("alert(1)"));
}
