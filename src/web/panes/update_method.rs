//! The update method in the Scheduling pane: how new rows are combined with the existing ones, and
//! the data safeguards.

use super::FormContext;
use super::details;
use super::form_fields::FormFields;
use super::view::Wizard;
use crate::connectors::report::UpdateMode;
use crate::datasets::options::{DatasetOptions, OnEmpty, ReportSetup, SchemaRule};
use crate::web::components::Choice;

/// The errors: field and sentence.
type FieldErrors = Vec<(String, String)>;

/// The validated update method.
#[derive(Clone, Debug)]
pub struct UpdateMethod {
    pub mode: UpdateMode,
    pub options: DatasetOptions,
    /// Warnings about this choice.
    pub warnings: Vec<String>,
}

/// An update mode in the list.
#[derive(Clone, Debug, Default)]
pub struct ModeChoice {
    pub value: String,
    pub title: String,
    pub about: String,
    pub selected: bool,
}

/// The data of the template.
#[derive(Clone, Debug, Default)]
pub struct UpdateMethodView {
    pub modes: Vec<ModeChoice>,
    pub key: String,
    /// The key that is used while `key` is empty, such as "id"; empty if the report has none.
    pub own_key: String,
    pub look_back: String,
    /// Whether records have days of their own, so that one day can be pulled without the others.
    pub takes_look_back: bool,
    pub on_empty: Vec<Choice>,
    pub hold_drop: String,
    pub on_added: Vec<Choice>,
    pub on_removed: Vec<Choice>,
    pub on_retyped: Vec<Choice>,
    /// Whether the report has pages, which may change while they are read.
    pub takes_second_read: bool,
    pub second_read: Vec<Choice>,
    /// Whether a safeguard is set, or has an error.
    pub guards_open: bool,
}

/// The description of a mode, with its consequences.
fn about(f: &FormContext<'_>, mode: UpdateMode) -> String {
    let connector = f.connector.title();
    match mode {
        UpdateMode::Replace => "Each run overwrites all rows. Only the days of that run remain. \
                                Earlier versions stay in History."
            .into(),
        UpdateMode::Append => "Each run adds its rows after the existing rows. \
             If a day is pulled twice, its rows appear twice."
            .to_owned(),
        UpdateMode::Merge => format!(
            "New rows replace existing rows with the same key. All other rows stay. \
             Rows deleted in {connector} are kept. \
             If the key is not unique, rows are lost."
        ),
        UpdateMode::Partition => format!(
            "Each run replaces the days that it pulls. All other days stay. \
             Rows deleted in {connector} are also deleted for these days. \
             Only for reports whose rows have a day."
        ),
    }
}

/// Validates the fields. Fields that the mode does not support are ignored, because they may have
/// been entered for another mode.
pub fn read(f: &FormContext<'_>, typed: &FormFields) -> Result<UpdateMethod, FieldErrors> {
    let mut wrong = FieldErrors::new();
    let mode = if typed.update_mode.is_empty() {
        Some(UpdateMode::Replace)
    } else {
        UpdateMode::parse(&typed.update_mode)
    };
    let Some(mode) = mode else {
        return Err(vec![(
            "update_mode".to_owned(),
            "Choose Replace, Append, Merge or Partition.".to_owned(),
        )]);
    };
    let mut number = |field: &str, text: &str, why: &str| {
        let text = text.trim().trim_end_matches('%').trim_end();
        if text.is_empty() {
            return 0;
        }
        text.parse::<u32>().unwrap_or_else(|_| {
            wrong.push((field.to_owned(), why.to_owned()));
            0
        })
    };
    let keeps_days = matches!(mode, UpdateMode::Merge | UpdateMode::Partition);
    let details = details::read(f.connector, typed).ok();
    let setup = details.as_ref().map(|details| ReportSetup {
        report: details.report,
        mode,
        menus: &details.menus,
    });
    let (mut look_back, mut hold_drop) = (0, 0);
    if keeps_days && setup.as_ref().is_none_or(ReportSetup::takes_look_back) {
        look_back = number(
            "look_back",
            &typed.look_back,
            "Enter a whole number of days, or leave empty.",
        );
    }
    if mode != UpdateMode::Append {
        hold_drop = number(
            "hold_drop",
            &typed.hold_drop,
            "Enter a whole number of percent, or leave empty.",
        );
    }
    let mut rule = |field: &str, word: &str| match (word, SchemaRule::parse(word)) {
        ("", _) => SchemaRule::default(),
        (_, Some(rule)) => rule,
        (_, None) => {
            wrong.push((
                field.to_owned(),
                "Choose an option from the list.".to_owned(),
            ));
            SchemaRule::default()
        }
    };
    let (on_added, on_removed, on_retyped) = (
        rule("on_added", &typed.on_added),
        rule("on_removed", &typed.on_removed),
        rule("on_retyped", &typed.on_retyped),
    );
    let on_empty = if typed.on_empty.is_empty() {
        Some(OnEmpty::default())
    } else {
        OnEmpty::parse(&typed.on_empty)
    };
    if on_empty.is_none() {
        wrong.push((
            "on_empty".to_owned(),
            "Choose an option from the list.".to_owned(),
        ));
    }
    let second_read = match typed.second_read.as_str() {
        "" | "on" => true,
        "off" => false,
        _ => {
            wrong.push((
                "second_read".to_owned(),
                "Choose an option from the list.".to_owned(),
            ));
            true
        }
    };
    let key = if mode == UpdateMode::Merge {
        key(&typed.key)
    } else {
        Vec::new()
    };
    let hold_drop = u8::try_from(hold_drop).unwrap_or(u8::MAX);
    let options = DatasetOptions {
        key,
        look_back,
        on_empty: on_empty.unwrap_or_default(),
        hold_drop,
        on_added,
        on_removed,
        on_retyped,
        second_read,
    };
    // While Details has errors, only those are reported; this is validated again before saving.
    let Some(setup) = setup.filter(|_| wrong.is_empty()) else {
        return if wrong.is_empty() {
            Ok(UpdateMethod {
                mode,
                options,
                warnings: Vec::new(),
            })
        } else {
            Err(wrong)
        };
    };
    let undeclared = f
        .dataset
        .and_then(|dataset| dataset.current.as_ref())
        .map(|current| current.undeclared.as_slice())
        .unwrap_or_default();
    let options = options.check(&setup, undeclared)?;
    Ok(UpdateMethod {
        mode,
        warnings: options.warnings(&setup),
        options,
    })
}

/// Column names, separated by commas.
fn key(text: &str) -> Vec<String> {
    text.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Renders this part into the wizard.
pub fn render(w: &mut Wizard, f: &FormContext<'_>, typed: &FormFields) {
    let chosen = UpdateMode::parse(&typed.update_mode).unwrap_or(UpdateMode::Replace);
    let report = f.connector.report(&typed.report);
    let choices = |all: &[(&'static str, &'static str)], chosen: &str| {
        all.iter()
            .map(|(value, label)| Choice {
                value: (*value).to_owned(),
                label: (*label).to_owned(),
                selected: *value == chosen,
            })
            .collect::<Vec<_>>()
    };
    let or = |word: &str, usual: &'static str| {
        if word.is_empty() {
            usual.to_owned()
        } else {
            word.to_owned()
        }
    };
    let rules = SchemaRule::ALL.map(|rule| (rule.word(), rule.title()));
    let empties = OnEmpty::ALL.map(|choice| (choice.word(), choice.title()));
    let fields = [
        "on_empty",
        "hold_drop",
        "on_added",
        "on_removed",
        "on_retyped",
        "second_read",
    ];
    let second_reads = [
        ("on", "Pull until two pulls agree"),
        ("off", "Pull once, with fewer API calls"),
    ];
    let is_chosen = or(&typed.on_empty, "usual") != "usual"
        || !matches!(typed.hold_drop.trim(), "" | "0")
        || or(&typed.second_read, "on") != "on"
        || [&typed.on_added, &typed.on_removed, &typed.on_retyped]
            .iter()
            .any(|word| or(word, "warn") != "warn");
    w.update = UpdateMethodView {
        modes: UpdateMode::ALL
            .map(|mode| ModeChoice {
                value: mode.word().to_owned(),
                title: mode.title().to_owned(),
                about: about(f, mode),
                selected: mode == chosen,
            })
            .into(),
        key: typed.key.clone(),
        own_key: report
            .map(|report| report.key.join(", "))
            .unwrap_or_default(),
        look_back: typed.look_back.clone(),
        takes_look_back: report.is_none_or(|report| {
            ReportSetup {
                report,
                mode: UpdateMode::Merge,
                menus: &Default::default(),
            }
            .takes_look_back()
        }),
        on_empty: choices(&empties, &or(&typed.on_empty, "usual")),
        hold_drop: typed.hold_drop.clone(),
        on_added: choices(&rules, &or(&typed.on_added, "warn")),
        on_removed: choices(&rules, &or(&typed.on_removed, "warn")),
        on_retyped: choices(&rules, &or(&typed.on_retyped, "warn")),
        takes_second_read: report.is_none_or(|report| {
            ReportSetup {
                report,
                mode: chosen,
                menus: &Default::default(),
            }
            .takes_second_read()
        }),
        second_read: choices(&second_reads, &or(&typed.second_read, "on")),
        guards_open: is_chosen || fields.iter().any(|field| !w.errors.of(field).is_empty()),
    };
}

impl FormFields {
    /// Sets the fields of the update method from an existing DataSet.
    pub fn fill_update_method(&mut self, options: &DatasetOptions) {
        let number = |n: u32| if n == 0 { String::new() } else { n.to_string() };
        self.key = options.key.join(", ");
        self.look_back = number(options.look_back);
        self.hold_drop = number(options.hold_drop.into());
        options.on_empty.word().clone_into(&mut self.on_empty);
        options.on_added.word().clone_into(&mut self.on_added);
        options.on_removed.word().clone_into(&mut self.on_removed);
        options.on_retyped.word().clone_into(&mut self.on_retyped);
        if options.second_read { "on" } else { "off" }.clone_into(&mut self.second_read);
    }
}
