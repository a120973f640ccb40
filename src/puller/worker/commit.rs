//! What a run that pulled all comes to: a new version, a held one, none, or a failure. Every guard of the rows from before is here.

use super::ends::cancelled;
use super::saving::Saving;
use crate::connectors::report::UpdateMode;
use crate::connectors::{self, Window};
use crate::datasets::Dataset;
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::options::{OnEmpty, Rule};
use crate::datasets::origin::{Came, Origin};
use crate::datasets::schema_change;
use crate::datasets::segments::{Segments, Writer, Written, digest};
use crate::datasets::update_mode::{self, BATCH_ID, BATCH_LAST_RUN, Built, Days, Drops};
use crate::datasets::versions::{Commit, Version};
use crate::db::marks::{step, stumble};
use crate::error::{Error, Result};
use crate::puller::queue::{self, Claimed, End, Told, Unchanged};
use crate::puller::run::Failure;
use crate::puller::{Puller, retry, schedules, windows};

/// The code of a run that failed because nothing came where there was something before.
const SUSPICIOUS: &str = "suspicious_empty";

/// How a run that pulled all ends.
pub(super) enum Committed {
    /// Its version is the current one.
    Current,
    /// Nothing came, or nothing that changes the current version, which stays.
    Kept,
    /// Its version is held.
    Held(Failure),
    /// There is none.
    Not(End),
}

/// Closes the files and commits. `total`: what the vendor said there is.
pub(super) async fn commit(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    writer: Writer,
    rows: u64,
    total: Option<u64>,
    saving: &Saving,
) -> Result<Committed> {
    stumble("save");
    let versions = &puller.datasets.versions;
    // Held on to until the commit, which fails when another version is current by then.
    let before = versions.current(&run.dataset_id).await?.map(|version| versions.pin(&version));
    let had = before.as_ref().map_or(0, |version| version.rows);
    if let Some(failure) = unexpected(puller, run, dataset, had > 0).await? {
        return Ok(Committed::Not(End::Failed(failure)));
    }
    if rows == 0 {
        let answer = match saving.or_halt(empty(puller, run, dataset, before.as_deref(), total, saving)).await {
            Ok(answer) => answer?,
            Err(why) => return Ok(Committed::Not(why.end(had > 0))),
        };
        match answer {
            Empty::Believed => {}
            Empty::Kept => {
                writer.abandon();
                // Of Append, what is there is all there is; else the vendor's days are not what is kept.
                let base = before.as_ref().filter(|_| dataset.update_mode == UpdateMode::Append).map(|version| &version.id);
                return Ok(match queue::keep_old(&puller.db, &puller.clock, run, had, base).await? {
                    Ok(()) => Committed::Kept,
                    Err(held) => Committed::Not(cancelled(held)),
                });
            }
            Empty::Failed(failure) => return Ok(Committed::Not(End::Failed(failure))),
        }
    }
    let written = match saving.or_halt(writer.finish()).await {
        Ok(written) => written?,
        Err(why) => return Ok(Committed::Not(why.end(had > 0))),
    };
    step("commit.files_whole");
    let came = columns::union(written.iter().map(|segment| segment.columns.as_slice()));
    let of_before = dataset.current.as_ref().filter(|current| before.as_ref().is_some_and(|v| v.id == current.version)).and_then(|c| c.origin.as_ref());
    let same_report = dataset.is_of(of_before);
    let filled = match saving.or_halt(saving.segments.filled(written.iter().map(Written::meta).collect())).await {
        Ok(filled) => filled?,
        Err(why) => return Ok(Committed::Not(why.end(had > 0))),
    };
    let brought_columns = Came { columns: &came, filled: &filled, rows };

    let change = match (&before, rows) {
        // A few days need not have all that the others have.
        (Some(version), 1..) if dataset.update_mode != UpdateMode::Replace => schema_change::added(&version.columns, &came, &dataset.options),
        // Nothing can be said of columns that have never come.
        (Some(_), 1..) if of_before.is_some_and(|origin| origin.columns.is_empty()) => None,
        (Some(version), 1..) => {
            let rare = of_before.map_or_else(Vec::new, |origin| origin.rare(&brought_columns));
            let known = of_before.map_or(&version.columns, |origin| &origin.columns);
            schema_change::between(known, &columns::union([came.as_slice(), rare.as_slice()]), &dataset.options)
        }
        _ => None,
    };
    let change_text = change.as_ref().map(serde_json::to_string).transpose().map_err(Error::internal)?;
    // Another report has other columns: that is what was asked for.
    if let (Some(change), Some(text), true) = (&change, &change_text, same_report)
        && change.verdict == Rule::Stop
    {
        queue::note_schema(&puller.db, run, text).await?;
        return Ok(Committed::Not(End::Failed(Failure {
            code: "schema_changed".to_owned(),
            message: format!("The columns changed, and this DataSet is set to stop when columns change. {}", change.in_words()),
            who: "The owner of the DataSet must check whether connected tools work with the new columns.".to_owned(),
            action: "To accept the columns, choose Accept or Accept and warn under Settings, then press Run now. The existing rows are unchanged.".to_owned(),
        })));
    }

    let asked = asked(puller, run).await?;
    let origin = origin(run, dataset, of_before, &asked, &brought_columns);
    let brought: (u64, u64) = (written.iter().map(|w| w.rows).sum(), written.iter().map(|w| w.bytes).sum());
    let base = before.as_ref().filter(|_| dataset.update_mode != UpdateMode::Replace && same_report);
    let declared = columns::columns_of(dataset.report);
    let comparable = same_report && before.as_deref().is_some_and(|version| same_columns(version, base.is_some(), &declared, &came));
    let built = match base {
        Some(version) => {
            let drops = drops(puller, run, dataset, &asked, &came, &version.columns).await?;
            let building =
                update_mode::build_with(&saving.segments, (&run.dataset_id, &run.id), dataset.update_mode, &version.segments, written, drops, comparable);
            match saving.or_halt(building).await {
                Ok(built) => built?,
                Err(why) => return Ok(Committed::Not(why.end(had > 0))),
            }
        }
        None => Built { order: written.iter().map(Written::meta).collect(), written, dropped: had, unchanged: false },
    };
    let left = built.order.iter().map(|segment| segment.rows).sum();
    let held = before.as_ref().filter(|_| rows > 0 && same_report).and_then(|_| too_few(dataset, of_before, had, left));
    if let Some(version) = before.as_deref().filter(|_| held.is_none() && comparable) {
        let unchanged = match saving.or_halt(is_unchanged(&saving.segments, version, &built, base.is_some())).await {
            Ok(unchanged) => unchanged,
            Err(why) => return Ok(Committed::Not(why.end(had > 0))),
        };
        if unchanged {
            saving.commits();
            let unchanged = Unchanged { version, origin: &origin, brought: brought.0, schema_change: change_text };
            return Ok(match queue::leave_unchanged(&puller.db, &puller.clock, run, &unchanged).await? {
                Ok(()) => Committed::Kept,
                Err(gone) => Committed::Not(cancelled(gone)),
            });
        }
    }
    let commit = Commit {
        order: base.map(|_| built.order.as_slice()),
        base: base.map(|version| &version.id),
        origin: Some(&origin),
        held: held.is_some(),
        ..Commit::new(&run.dataset_id, &run.id, &declared, &built.written)
    };
    let dropped = if base.is_some() { built.dropped } else { 0 };
    let told = Told { brought: Some(brought), before: before.as_ref().map(|version| version.rows), dropped, schema_change: change_text, held: held.as_ref() };
    saving.commits();
    Ok(match queue::succeed_with(&puller.db, &puller.clock, versions, run, &commit, &told).await? {
        Ok(_) => held.map_or(Committed::Current, Committed::Held),
        Err(gone) => Committed::Not(cancelled(gone)),
    })
}

/// Whether a version of these columns would have those of the current one. `came`: of the run's rows; a merge also keeps the others.
fn same_columns(version: &Version, merged: bool, declared: &[ColumnInfo], came: &[ColumnInfo]) -> bool {
    let all = if merged { columns::union([version.columns.as_slice(), came]) } else { came.to_vec() };
    columns::next_version(declared, &all, &version.columns) == version.columns
}

/// Whether the new version, of the same columns, would hold the same rows as the current one. One that is damaged is replaced even so.
async fn is_unchanged(segments: &Segments, version: &Version, built: &Built, merged: bool) -> bool {
    if merged {
        return built.unchanged;
    }
    let new = digest::sum(built.order.iter().map(|segment| segment.digest));
    let same = new.zip(version.digest()).is_some_and(|(new, old)| (new.rows, new.ordered) == (old.rows, old.ordered));
    same && segments.check(&version.segments).await.is_ok()
}

/// Why a run fails of whose records too many were rejected, over all its windows.
async fn unexpected(puller: &Puller, run: &Claimed, dataset: &Dataset, had_rows: bool) -> Result<Option<Failure>> {
    let ledger = windows::of_run(&puller.db, &run.id).await?;
    // A record that came again is one record.
    let of = ledger.iter().map(|line| line.tally.read.saturating_sub(line.tally.duplicates)).sum();
    let rejected = ledger.iter().map(|line| line.tally.rejected).sum();
    Ok(connectors::too_many_rejected(rejected, of).then(|| retry::unexpected_records(rejected, of, dataset.connector.title(), had_rows)))
}

/// What becomes of an answer without rows.
enum Empty {
    Believed,
    Kept,
    Failed(Failure),
}

async fn empty(puller: &Puller, run: &Claimed, dataset: &Dataset, before: Option<&Version>, total: Option<u64>, saving: &Saving) -> Result<Empty> {
    let (vendor, had) = (dataset.connector.title(), before.map_or(0, |version| version.rows));
    // Nothing is added: there is nothing to lose.
    let believed = if dataset.update_mode == UpdateMode::Append && had > 0 { Empty::Kept } else { Empty::Believed };
    Ok(match dataset.setup().on_empty(dataset.options.on_empty) {
        OnEmpty::Fail => Empty::Failed(Failure {
            code: "empty_answer".to_owned(),
            message: format!("{vendor} returned no rows, and this DataSet is set to fail in this case."),
            who: format!("The owner of the DataSet must check in {vendor} whether there is really no data."),
            action: format!("The next run tries again.{}", if had > 0 { " The existing rows are unchanged." } else { "" }),
        }),
        OnEmpty::Keep if had > 0 => Empty::Kept,
        OnEmpty::Check if loses(puller, run, dataset, before, saving).await? => {
            // A vendor that tells a total was held to it, window by window. Where none is told, nothing at all where there was something
            // before is believed when it comes a second time; who is on the site just now may be nobody at any time.
            let is_certain = total.is_some() || dataset.report.comes_and_goes() || queue::last_ended_with(&puller.db, run, SUSPICIOUS).await?;
            if is_certain {
                return Ok(believed);
            }
            Empty::Failed(Failure {
                code: SUSPICIOUS.to_owned(),
                message: format!("{vendor} returned no rows and gives no count to compare. The DataSet has {had} rows."),
                who: format!("The owner of the DataSet must check in {vendor} whether there is really no data."),
                action: format!("The existing {had} rows are unchanged. If the next run also returns no rows, Chatlake accepts that."),
            })
        }
        OnEmpty::Usual | OnEmpty::Keep | OnEmpty::Check | OnEmpty::Empty => believed,
    })
}

/// Whether an answer without rows takes any row away. Append and Merge keep what is there; Partition keeps the days that were not asked for.
async fn loses(puller: &Puller, run: &Claimed, dataset: &Dataset, before: Option<&Version>, saving: &Saving) -> Result<bool> {
    let Some(version) = before.filter(|version| version.rows > 0) else { return Ok(false) };
    match dataset.update_mode {
        UpdateMode::Append | UpdateMode::Merge => Ok(false),
        UpdateMode::Replace => Ok(true),
        UpdateMode::Partition => {
            let asked = asked(puller, run).await?;
            let drops = drops(puller, run, dataset, &asked, &[], &version.columns).await?;
            Ok(update_mode::lost(&saving.segments, &version.segments, drops).await? > 0)
        }
    }
}

/// The days that the run asked for.
async fn asked(puller: &Puller, run: &Claimed) -> Result<Vec<Window>> {
    Ok(windows::of_run(&puller.db, &run.id).await?.into_iter().filter_map(|line| line.window).collect())
}

/// Why a version of `rows` is held: it has many fewer than the one before, which was asked for the same.
fn too_few(dataset: &Dataset, of_before: Option<&Origin>, had: u64, rows: u64) -> Option<Failure> {
    let most = u64::from(dataset.options.hold_drop);
    let asked_same = of_before.is_none_or(|origin| origin.asked == dataset.asked_key());
    let applies = most > 0 && asked_same && !dataset.report.comes_and_goes();
    let lost = had.saturating_sub(rows);
    if !applies || u128::from(lost) * 100 <= u128::from(had) * u128::from(most) {
        return None;
    }
    Some(Failure {
        code: "held".to_owned(),
        message: format!(
            "The new version has {rows} rows instead of {had} ({} % fewer). Above {most} %, Chatlake waits for approval.",
            lost * 100 / had.max(1)
        ),
        who: "The owner of the DataSet must check the rows of this run, then publish or discard them.".to_owned(),
        action: format!("The existing {had} rows stay available until the new version is published, or a later run returns enough rows."),
    })
}

fn origin(run: &Claimed, dataset: &Dataset, of_before: Option<&Origin>, asked: &[Window], came: &Came<'_>) -> Origin {
    let (report, key) = (dataset.report.id.to_owned(), dataset.asked_key());
    let (from, to) = (asked.iter().map(|window| window.from).min(), asked.iter().map(|window| window.to).max());
    // A pull of days that are long past leaves the later ones held.
    let before = of_before.filter(|before| before.report == report && before.asked == key && dataset.update_mode != UpdateMode::Replace);
    let held = before.and_then(|before| before.to);
    // Days that somebody wanted apart leave a gap behind them, which a run of the schedule is still to fill.
    let joins = run.range.is_none() || held.zip(from).is_some_and(|(held, from)| held.tomorrow().is_ok_and(|next| from <= next));
    let (columns, filled) = Origin::known(of_before.filter(|before| before.report == report), came);
    Origin { to: if joins { to.max(held) } else { held }, report, asked: key, columns, filled }
}

/// Which rows of the version before go.
async fn drops(puller: &Puller, run: &Claimed, dataset: &Dataset, asked: &[Window], came: &[ColumnInfo], before: &[ColumnInfo]) -> Result<Drops> {
    let all = columns::union([columns::columns_of(dataset.report).as_slice(), came, before]);
    let column = |name: &str| all.iter().find(|column| column.name == name).cloned();
    let days = || -> Result<Option<Days>> {
        let Some(column) = dataset.report.day.and_then(column) else { return Ok(None) };
        Ok(Some(Days::of(column, asked, &schedules::zone(&dataset.time_zone)?)?))
    };
    Ok(match dataset.update_mode {
        UpdateMode::Replace | UpdateMode::Append => Drops::Nothing,
        UpdateMode::Partition => match days()? {
            // A chat that began on a day which was not asked for may come as well, and is there already.
            Some(days) => Drops::Days { days, key: own_key(dataset).filter_map(column).collect() },
            None => Drops::Nothing,
        },
        UpdateMode::Merge if !dataset.options.key.is_empty() => {
            // A row without a value in such a key is identified by the report's key, or by all that came of it where the report has none.
            let otherwise = match dataset.report.key {
                [] => all.iter().filter(|column| ![BATCH_ID, BATCH_LAST_RUN].contains(&column.name.as_str())).cloned().collect(),
                own => own.iter().copied().filter_map(column).collect(),
            };
            // Rows with a key of somebody's own may have been of any day before.
            let columns = dataset.options.key.iter().filter_map(|name| column(name)).collect();
            Drops::Keys { columns, otherwise, childless: Vec::new(), within: None }
        }
        UpdateMode::Merge => match dataset.report.parent() {
            Some(parent) => {
                let childless = queue::childless(&puller.db, &run.id).await?;
                Drops::Keys { columns: column(parent).into_iter().collect(), otherwise: Vec::new(), childless, within: days()? }
            }
            None => {
                let columns = own_key(dataset).filter_map(column).collect();
                Drops::Keys { columns, otherwise: Vec::new(), childless: Vec::new(), within: days()? }
            }
        },
    })
}

/// The columns of the report that tell what is replaced together: the record that rows are parts of, or the row.
fn own_key(dataset: &Dataset) -> impl Iterator<Item = &'static str> + use<> {
    let (parent, key) = (dataset.report.parent(), dataset.report.key);
    parent.into_iter().chain(key.iter().copied().filter(move |_| parent.is_none()))
}

/// Whether the run notes records that become no row: rows of them from before are to go.
pub(super) fn counts_childless(dataset: &Dataset) -> bool {
    dataset.update_mode == UpdateMode::Merge && dataset.options.key.is_empty() && dataset.report.parent().is_some()
}
