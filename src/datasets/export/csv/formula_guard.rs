//! Marks text that a spreadsheet would read as a formula.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringBuilder};

use crate::datasets::export::cell_text::with_columns;
use crate::error::Result;

/// Applies `guard` to all texts of a batch.
pub(super) fn guard_batch(batch: &RecordBatch) -> Result<RecordBatch> {
    with_columns(batch, |array| {
        let texts = array.as_string_opt::<i32>()?;
        if !texts.iter().flatten().any(needs_guard) {
            return None;
        }
        let mut marked =
            StringBuilder::with_capacity(texts.len(), texts.value_data().len() + texts.len());
        for text in texts {
            marked.append_option(text.map(guard));
        }
        Some(Arc::new(marked.finish()))
    })
}

/// Puts a `'` before text that a spreadsheet could read as a formula, and before text that already
/// begins with `'`, so that `unguard` can restore the original text. Plain numbers are unchanged.
pub fn guard(text: &str) -> Cow<'_, str> {
    if needs_guard(text) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Reverses `guard`.
pub fn unguard(text: &str) -> &str {
    text.strip_prefix('\'').unwrap_or(text)
}

pub(in crate::datasets::export) fn needs_guard(text: &str) -> bool {
    match text.chars().next() {
        Some(
            '=' | '+' | '@' | '\t' | '\r' | '\n' | '\0' | '\'' | '\u{ff1d}' | '\u{ff0b}'
            | '\u{ff0d}' | '\u{ff20}',
        ) => true,
        Some('-') => !is_plain_number(&text[1..]),
        _ => false,
    }
}

/// Digits with an optional fraction and exponent.
fn is_plain_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}
