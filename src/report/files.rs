//! A report as files: Markdown, one HTML page, and every chart as PNG and SVG.

use std::fs;
use std::path::{Path, PathBuf};

use super::chart::{Chart, Frame};
use super::draw::picture::{self, PictureError};
use super::html;
use super::markdown;
use super::model::View;
use crate::report::format::printable;
use crate::store::folder::{FolderError, publish};

/// Which files to write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `summary.md`.
    pub markdown: bool,
    /// `report.html`.
    pub html: bool,
    /// `charts/*.png` and `charts/*.svg`.
    pub pictures: bool,
}

impl Wanted {
    /// All of them.
    pub const ALL: Self = Self {
        markdown: true,
        html: true,
        pictures: true,
    };
}

/// A file that was written, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where; for pictures the pattern of all.
    pub path: PathBuf,
    /// What, in words.
    pub what: String,
}

/// A file could not be written. Those before it are there; the run itself is not touched.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The page could not be made.
    #[error("cannot lay out the page")]
    Html(#[from] askama::Error),
    /// A picture could not be drawn; no part of it was written.
    #[error("cannot draw {name}")]
    Picture {
        /// Which.
        name: String,
        /// Why.
        #[source]
        cause: PictureError,
    },
    /// The disk refused.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

/// Writes a report into a folder, file by file. What was written is added to `written` as it
/// happens, so that it is known also if a later one fails.
///
/// # Errors
/// See [`FilesError`].
pub fn write(
    folder: &Path,
    view: &View,
    wanted: Wanted,
    written: &mut Vec<Written>,
) -> Result<(), FilesError> {
    let mut note = |path: PathBuf, what: &str| {
        written.push(Written {
            path,
            what: what.to_owned(),
        });
    };
    if wanted.markdown {
        let path = folder.join("summary.md");
        publish(&path, printable(&markdown::render(view)).as_bytes())?;
        note(path, "this report as Markdown");
    }
    if wanted.html {
        let path = folder.join("report.html");
        publish(&path, html::render(view)?.as_bytes())?;
        note(path, "this report with charts, for a browser");
    }
    if wanted.pictures && !view.charts.is_empty() {
        pictures(folder, &view.charts)?;
        let what = format!("{} charts, each as PNG and SVG", view.charts.len());
        note(folder.join("charts/*.png, *.svg"), &what);
    }
    Ok(())
}

/// Every chart, drawn by as many threads as there are processors for it.
fn pictures(folder: &Path, charts: &[Chart]) -> Result<(), FilesError> {
    let folder = folder.join("charts");
    fs::create_dir_all(&folder).map_err(|cause| FolderError::Unusable {
        path: folder.clone(),
        cause,
    })?;
    let hands = std::thread::available_parallelism().map_or(1, usize::from);
    let share = charts.len().div_ceil(hands.min(8)).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = charts
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().try_for_each(|chart| draw(&folder, chart))))
            .collect();
        parts.into_iter().try_for_each(|part| {
            // A panic of a drawer is an error of this report, not the end of the program.
            part.join().unwrap_or_else(|_| {
                Err(FilesError::Picture {
                    name: "a chart".to_owned(),
                    cause: PictureError::Shape("the drawing library gave up".to_owned()),
                })
            })
        })
    })
}

fn draw(folder: &Path, chart: &Chart) -> Result<(), FilesError> {
    let failed = |cause| FilesError::Picture {
        name: chart.name.clone(),
        cause,
    };
    let scene = chart.scene(Frame {
        width: Frame::WIDE,
        log: chart.prefers_log(),
        dots: usize::MAX,
    });
    let png = picture::png(&scene, &chart.title).map_err(failed)?;
    let svg = picture::svg(&scene, &chart.title, &chart.alt).map_err(failed)?;
    publish(&folder.join(format!("{}.png", chart.name)), &png)?;
    publish(&folder.join(format!("{}.svg", chart.name)), svg.as_bytes())?;
    Ok(())
}
