//! The HTML page in a real browser: Chromium without a window, spoken to by the DevTools protocol over a
//! pipe. Skipped by name where there is none.
#![allow(clippy::unwrap_used, clippy::panic)] // a test states its expectations

mod support;
mod synthetic;

#[path = "browser/chromium.rs"]
mod chromium;
#[path = "history/place.rs"]
mod place;

use std::fs;
use std::path::{Path, PathBuf};

use chromium::{Chromium, Tab};
use place::Place;
use support::{isobench, skipped, status, stderr};
use synthetic::Recipe;

/// A page with three configurations in a folder that a browser of any user can read.
fn page(dir: &Path) -> PathBuf {
    let recipe = Recipe {
        blocks: 60,
        rounds: 6,
        backends: &["process", "container", "microvm"],
        ..Recipe::default()
    };
    recipe.write(dir);
    let output = isobench()
        .arg("report")
        .arg(dir)
        .arg("--html")
        .output()
        .unwrap();
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    dir.join("report.html")
}

fn browser(test: &str) -> Option<Chromium> {
    match Chromium::start() {
        Ok(browser) => Some(browser),
        Err(why) => {
            skipped(test, &why);
            None
        }
    }
}

/// How many of these can be seen.
fn seen(tab: &mut Tab<'_>, query: &str) -> i64 {
    tab.number(&format!(
        "[...document.querySelectorAll({query:?})].filter(e => e.getClientRects().length > 0).length"
    ))
}

#[test]
fn the_page_loads_clean_and_its_controls_work() {
    let Some(mut browser) = browser("the_page_loads_clean_and_its_controls_work") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let page = page(dir.path());
    let mut tab = browser.open(&page, "", (1280, 900));

    // Charts and tables are there, once each; of the distributions one.
    assert!(seen(&mut tab, "main svg") >= 5, "charts");
    assert_eq!(seen(&mut tab, "figure.dist"), 1);
    assert!(seen(&mut tab, "table") >= 6, "tables");
    assert_eq!(seen(&mut tab, "table.glance tbody tr"), 3);
    assert_eq!(seen(&mut tab, "svg.narrow"), 0);
    let unnamed =
        "[...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length";
    assert_eq!(tab.number(unnamed), 0);

    // A backend is taken out everywhere, its room in the charts, too.
    let height = |tab: &mut Tab<'_>| {
        tab.number("Math.round(document.querySelector('#startup svg.wide.lin, #startup svg.wide.log').viewBox.baseVal.height)")
    };
    let before = height(&mut tab);
    let bands = seen(&mut tab, "#startup .band");
    tab.run("document.querySelector('#tools input[value=container]').click()");
    assert_eq!(seen(&mut tab, "[data-b=container]"), 0);
    assert_eq!(seen(&mut tab, "table.glance tbody tr"), 2);
    assert_eq!(seen(&mut tab, "#startup .band") * 3, bands * 2);
    assert!(
        tab.text("location.hash").contains("b=process~microvm")
            || tab.text("location.hash").contains("b=process%7Emicrovm")
    );
    let visible = tab.number("[...document.querySelectorAll('#startup svg')].filter(e => e.getClientRects().length > 0)[0].viewBox.baseVal.height | 0");
    assert!(visible < before, "{visible} < {before}");

    // A workload is taken out.
    assert!(seen(&mut tab, "#throughput .band") > 0);
    tab.run("document.querySelector('#tools input[value=\"sha256@1MiB\"]').click()");
    assert_eq!(seen(&mut tab, "#throughput .band"), 0);
    tab.run("document.getElementById('reset').click()");
    assert_eq!(seen(&mut tab, "table.glance tbody tr"), 3);

    // Another metric, another axis.
    tab.run("document.querySelectorAll('input[name=m]')[2].click()");
    assert_eq!(seen(&mut tab, "#d2"), 1);
    assert_eq!(seen(&mut tab, "#d0"), 0);
    for (id, other) in [("lin", "log"), ("log", "lin")] {
        tab.run(&format!("document.getElementById('{id}').click()"));
        assert_eq!(seen(&mut tab, &format!("svg.wide.{other}")), 0, "{id}");
        assert!(seen(&mut tab, &format!("svg.wide.{id}")) >= 3, "{id}");
    }

    // A table sorts by what is stored, either way.
    let firsts = "[...document.querySelectorAll('table.glance tbody td:nth-child(2)')].map(c => Number(c.dataset.v)).join(' ')";
    tab.run("document.querySelectorAll('table.glance thead button')[1].click()");
    let numbers =
        |text: String| -> Vec<f64> { text.split(' ').map(|n| n.parse().unwrap()).collect() };
    let up = numbers(tab.text(firsts));
    assert!(up.is_sorted(), "{up:?}");
    tab.run("document.querySelectorAll('table.glance thead button')[1].click()");
    let down = numbers(tab.text(firsts));
    assert!(down.iter().rev().is_sorted() && up != down, "{down:?}");

    // Pointing at a shape tells what is stored.
    tab.run("const r = document.querySelector('#throughput circle'); r.dispatchEvent(new PointerEvent('pointermove', {bubbles: true, clientX: 9, clientY: 9}))");
    assert!(
        tab.text("document.getElementById('tip').textContent")
            .contains("stored: ")
    );

    assert_eq!(tab.complaints(), Vec::<String>::new());
}

#[test]
fn a_link_shows_what_it_says() {
    let Some(mut browser) = browser("a_link_shows_what_it_says") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let page = page(dir.path());
    let mut tab = browser.open(&page, "#b=process~microvm&x=log&m=1", (1280, 900));
    assert_eq!(seen(&mut tab, "table.glance tbody tr"), 2);
    assert_eq!(seen(&mut tab, "svg.wide.lin"), 0);
    assert_eq!(seen(&mut tab, "#d1"), 1);
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

/// A telephone: nothing is wider than its screen, charts have their narrow layout.
#[test]
fn a_narrow_screen_is_not_overflowed() {
    let Some(mut browser) = browser("a_narrow_screen_is_not_overflowed") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let page = page(dir.path());
    let mut tab = browser.open(&page, "", (390, 844));
    assert_eq!(tab.number("innerWidth"), 390);
    let width = tab.number("document.documentElement.scrollWidth");
    assert!(width <= 390, "{width} pixels");
    assert_eq!(seen(&mut tab, "svg.wide"), 0);
    assert!(seen(&mut tab, "svg.narrow") >= 5);
    assert_eq!(tab.complaints(), Vec::<String>::new());
}

/// Without JavaScript everything is there, and what is chosen by a control still is: by CSS.
#[test]
fn the_page_works_without_javascript() {
    let Some(mut browser) = browser("the_page_works_without_javascript") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let page = page(dir.path());
    let text = fs::read_to_string(&page).unwrap();
    let script = text.find("<script>").unwrap();
    let end = text.find("</script>").unwrap();
    fs::write(&page, format!("{}{}", &text[..script], &text[end + 9..])).unwrap();
    let mut tab = browser.open(&page, "", (1280, 900));
    assert!(seen(&mut tab, "main svg") >= 5);
    assert_eq!(seen(&mut tab, "#reset"), 0);
    tab.run("document.querySelector('#tools input[value=container]').click()");
    assert_eq!(seen(&mut tab, "table.glance tbody tr"), 2);
    tab.run("document.querySelectorAll('input[name=m]')[1].click()");
    assert_eq!((seen(&mut tab, "#d0"), seen(&mut tab, "#d1")), (0, 1));
}

/// The trends of a history: on a screen with its controls, and on a telephone.
#[test]
fn the_trends_load_clean_on_any_screen() {
    let Some(mut browser) = browser("the_trends_load_clean_on_any_screen") else {
        return;
    };
    let place = Place::filled();
    let output = place.history(&["--html", "trends.html"]);
    assert_eq!(status(&output), 0, "{}", stderr(&output));
    let page = place.path("trends.html");
    let mut tab = browser.open(&page, "", (1280, 900));
    let (charts, rows) = (
        seen(&mut tab, "figure svg"),
        seen(&mut tab, "#now tbody tr"),
    );
    assert!(charts >= 5 && rows > charts, "{charts} charts, {rows} rows");
    assert_eq!(seen(&mut tab, "svg.narrow"), 0);
    assert!(seen(&mut tab, "#changes li") >= 1);
    // No text of a chart lies outside of it.
    let outside = "[...document.querySelectorAll('svg.wide')].filter(svg => { const b = svg.getBoundingClientRect(); \
        return [...svg.querySelectorAll('text')].some(t => { const r = t.getBoundingClientRect(); \
        return r.left < b.left - 1 || r.right > b.right + 1 || r.top < b.top - 1 || r.bottom > b.bottom + 1; }); }).length";
    assert_eq!(tab.number(outside), 0);
    // A backend is taken out everywhere, and comes back.
    tab.run("document.querySelector('#tools input[value=container]').click()");
    assert_eq!(seen(&mut tab, "[data-b=container]"), 0);
    assert!(seen(&mut tab, "#now tbody tr") < rows);
    tab.run("document.getElementById('reset').click()");
    assert_eq!(seen(&mut tab, "#now tbody tr"), rows);
    // Pointing at a change tells what it is.
    tab.run("const r = document.querySelector('svg.wide polygon'); r.dispatchEvent(new PointerEvent('pointermove', {bubbles: true, clientX: 9, clientY: 9}))");
    assert!(
        tab.text("document.getElementById('tip').textContent")
            .contains("since 2026-02-12")
    );
    assert_eq!(tab.complaints(), Vec::<String>::new());

    let mut tab = browser.open(&page, "", (390, 844));
    let width = tab.number("document.documentElement.scrollWidth");
    assert!(width <= 390, "{width} pixels");
    assert_eq!(seen(&mut tab, "svg.wide"), 0);
    assert_eq!(seen(&mut tab, "figure svg.narrow"), charts);
    assert_eq!(tab.number(&outside.replace("svg.wide", "svg.narrow")), 0);
    assert_eq!(tab.complaints(), Vec::<String>::new());
}
