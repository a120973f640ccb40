//! Reads one page of rows, and computes the links to the other pages.

use super::data_view::{DataView, PER_PAGE};
use crate::datasets::preview::{self, MAX_SORTED_DEPTH};
use crate::datasets::versions::Version;
use crate::error::Error;
use crate::web::Web;
use crate::web::components::Pager;
use crate::web::humanize::{counted, grouped, signed};

/// Reads the requested page, or the last page if it does not exist. Returns the number of the page
/// with it.
pub(super) async fn read_page(
    web: &Web,
    version: &Version,
    view: &DataView,
) -> Result<(u64, preview::RowPage), Error> {
    let known = if view.q.is_empty() {
        last_page(version.rows, view)
    } else {
        u64::MAX
    };
    let deepest = if view.sorted().is_some() {
        MAX_SORTED_DEPTH / PER_PAGE
    } else {
        u64::MAX / PER_PAGE
    };
    let number = view.page.min(known).min(deepest).max(1);
    let page = preview::page(&web.datasets.segments, version, view.request(number)).await?;
    match page.total_matching {
        Some(total) if page.rows.is_empty() && total > 0 => {
            let last = last_page(total, view);
            Ok((
                last,
                preview::page(&web.datasets.segments, version, view.request(last)).await?,
            ))
        }
        _ => Ok((number, page)),
    }
}

fn last_page(rows: u64, view: &DataView) -> u64 {
    let reachable = if view.sorted().is_some() {
        rows.min(MAX_SORTED_DEPTH)
    } else {
        rows
    };
    reachable.div_ceil(PER_PAGE).max(1)
}

pub(super) fn pager(
    page: &preview::RowPage,
    number: u64,
    version: &Version,
    view: &DataView,
) -> Pager {
    let in_all = counted(signed(version.rows), "row", "rows");
    let of = match page.total_matching {
        _ if view.q.is_empty() => format!("of {in_all}"),
        Some(total) => format!(
            "of {} that match, {} in all",
            counted(signed(total), "row", "rows"),
            grouped(signed(version.rows))
        ),
        None => format!(
            "of the rows that match, {} in all",
            grouped(signed(version.rows))
        ),
    };
    // The rows were not counted to the end. If this page is full, there is at least one more.
    let full = page.rows.len() as u64 == PER_PAGE;
    let pages = page
        .total_matching
        .map_or(number + u64::from(full), |total| last_page(total, view))
        .max(number);
    Pager {
        first: grouped(signed(page.offset + 1)),
        last: grouped(signed(page.offset + page.rows.len() as u64)),
        of,
        page: number,
        pages,
        previous: if number > 1 {
            view.at(number - 1)
        } else {
            String::new()
        },
        next: if number < pages {
            view.at(number + 1)
        } else {
            String::new()
        },
        jump: if pages > 2 {
            view.any_page()
        } else {
            String::new()
        },
    }
}
