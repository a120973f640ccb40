//! The list of all faults.

use serde::{Deserialize, Serialize};

use super::fault_variants::{Cut, Doctype, Frame, Odd, RetryAfter};
use crate::sandbox::liveleader::encoding::Label;

/// The kind of fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    // These replace the answer of the endpoint.
    /// Status 429.
    TooManyRequests { retry_after: RetryAfter },
    /// Status 503 with a time to wait.
    Maintenance { retry_after: RetryAfter },
    /// This answer; the default type is JSON (for LiveLeader, XML).
    Answer {
        status: u16,
        content_type: Option<String>,
        body: String,
    },
    /// Any other status, with an error in JSON (for LiveLeader, in plain text): 403, 500, 502, 503
    /// ...
    Status { status: u16 },
    /// Status 421 that names the account's region.
    Misdirected { region: String },
    /// A sign-in page with status 200.
    Html,
    /// Status 200 and no body.
    Empty,
    /// Status 200 and this body, for example `[]` where an object belongs.
    Shape { body: String },
    /// A JSON body (for LiveLeader, one XML text) without an end, at full speed, in chunks.
    Endless,
    /// Chunks of a few bytes with `Content-Encoding: gzip`, each one mebibyte after decompression;
    /// without an end.
    GzipBomb,
    /// Status 301, 302, 307 ... to this URL.
    Redirect { status: u16, to: String },
    /// The connection is dropped before any answer.
    HangUp,

    // These change the endpoint's own answer.
    /// No byte of the answer is sent for this time.
    Late { ms: u64 },
    /// The body is sent in pieces of this size with this interval.
    Drip { bytes: usize, every_ms: u64 },
    /// Nothing is sent after this number of bytes; the connection stays open.
    Stall { after: usize },
    /// The body ends too early.
    Cut { after: usize, how: Cut },
    /// One value of the first record is malformed.
    OddRecord { odd: Odd },
    /// The frame of a page of records is malformed.
    OddFrame { frame: Frame },
    /// An answer without records gets this status and body. An answer with records is unchanged.
    Quiet { status: u16, body: String },
    /// The days on which this version of the API ends, as `YYYY-MM-DD`.
    Sunset {
        legacy: Option<String>,
        deprecation: Option<String>,
    },

    // These change the data of the endpoint.
    /// The total is higher (or lower) than the real one by this number.
    LyingTotal { by: i64 },
    /// This number of chats ends after each answered page, so that the next page starts with chats
    /// that were already read.
    Shift { chats: u64 },
    /// The archive changes after each answered page, depending on the seed: up to three chats end
    /// and become the newest ones, and up to two of the newest 20,000 are deleted. So totals can
    /// grow and shrink.
    Mutate { seed: u64 },
    /// The previous page is returned instead of this one.
    RepeatPage,

    // These replace LiveLeader's document of the period, for requests with permission.
    /// `<error><message>`, with status 200.
    WrongRoot,
    /// A small document with a document type declaration that expands, or loads external data, in
    /// an unsafe parser.
    Doctype { how: Doctype },
    /// This number of nested elements.
    Deep { levels: u64 },
    /// This number of attributes on one `msg`.
    ManyAttributes { count: u64 },
    /// One `msg` with this number of bytes of text.
    LongText { bytes: u64 },
    /// One chat of about this number of bytes, in many messages.
    LargeChat { bytes: u64 },
    /// Valid chats without an end.
    EndlessChats,

    // These change LiveLeader's document.
    /// Times like in the vendor's sample, `23-10-2008T12:49:1231`, in this time zone (default:
    /// UTC).
    SampleTimes { zone: Option<String> },
    /// The start of the first chat, and the time of its last message, have an unknown format.
    OddTimes,
    /// Declared and encoded in another encoding.
    Encoding { label: Label },
    /// A second `<chats>` after the first, with its first chat.
    TwoRoots,
    /// Text after `</chats>`.
    Trailing,
    /// Undocumented elements and attributes in each chat.
    Unknown,
    /// Chats that overlap the period are included, not only those that start in it.
    Overlap,
    /// Lines end with CR LF.
    Crlf,
    /// The first chat is repeated at the end.
    Twice,
    /// The first chat has no id.
    NoId,
    /// The first chat has no operators and no messages.
    Bare,
    /// Each chat has at least three operators.
    SeveralOperators,
    /// Operators are written in capital letters.
    CapitalOperators,
    /// The first message of the first chat ends with invalid XML: HTML entities, bare ampersands,
    /// and numbers of invalid characters.
    LooseText,
    /// Shuffled by the seed, not in the order of their starts.
    Shuffle { seed: u64 },
}
