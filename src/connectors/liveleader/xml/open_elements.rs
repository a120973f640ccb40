//! The stack of open elements of a document.

use super::chat::ChatField;

/// The kind of an open element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementKind {
    Root,
    /// Below the root, and no chat: ignored.
    Ignored,
    Chat,
    Field(ChatField),
    Operator,
    Message,
    /// Not in the vendor's documentation: stored by its path, in the message if it is inside one.
    Unknown {
        message: bool,
    },
}

/// An open element.
#[derive(Debug)]
pub(super) struct OpenElement {
    pub kind: ElementKind,
    /// The path of a field, an operator or an unknown element; nested elements append their names.
    pub path: String,
    pub text: String,
    /// The range of text from references or CDATA: white space in it is not trimmed.
    pub exact: Option<(usize, usize)>,
    pub has_children: bool,
}

/// The open elements, followed by closed ones whose buffers are reused.
#[derive(Debug, Default)]
pub(super) struct ElementStack {
    all: Vec<OpenElement>,
    pub depth: usize,
}

impl ElementStack {
    pub fn last(&mut self) -> Option<&mut OpenElement> {
        self.all[..self.depth].last_mut()
    }

    /// The next element, which is not open yet.
    pub fn next(&mut self) -> (&mut [OpenElement], &mut OpenElement) {
        if self.all.len() == self.depth {
            self.all.push(OpenElement {
                kind: ElementKind::Ignored,
                path: String::new(),
                text: String::new(),
                exact: None,
                has_children: false,
            });
        }
        let (open, next) = self.all.split_at_mut(self.depth);
        (open, &mut next[0])
    }

    pub fn pop(&mut self) -> Option<&OpenElement> {
        self.depth = self.depth.checked_sub(1)?;
        self.all.get(self.depth)
    }
}
