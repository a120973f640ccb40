//! A small, strict XML parser for the tests, independent of the product's parser.

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    /// The element's own text, decoded, without indentation at both ends.
    pub text: String,
}

impl Element {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&Element> {
        self.children
            .iter()
            .filter(|child| child.name == name)
            .collect()
    }

    /// The text of the first child with that name.
    pub fn of(&self, name: &str) -> Option<&str> {
        self.children
            .iter()
            .find(|child| child.name == name)
            .map(|child| child.text.as_str())
    }
}

/// The root of a document; `Err` if it is not well-formed or has a document type declaration.
pub fn read(document: &str) -> Result<Element, String> {
    let normal = document.replace("\r\n", "\n").replace('\r', "\n");
    let mut rest = normal
        .strip_prefix("<?xml ")
        .and_then(|rest| rest.split_once("?>"))
        .ok_or("no declaration")?
        .1;
    let mut open = vec![Element::default()];
    while !rest.is_empty() {
        let top = open.last_mut().ok_or("closed too often")?;
        if let Some(after) = rest.strip_prefix("<!--") {
            rest = after.split_once("-->").ok_or("an open comment")?.1;
        } else if let Some(after) = rest.strip_prefix("<![CDATA[") {
            let (text, after) = after.split_once("]]>").ok_or("open CDATA")?;
            top.text.push_str(text);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("</") {
            let (name, after) = after.split_once('>').ok_or("an open tag")?;
            let mut closed = open.pop().ok_or("closed too often")?;
            if closed.name != name {
                return Err(format!("{} ends as {name}", closed.name));
            }
            closed.text = closed.text.trim_matches([' ', '\n']).to_owned();
            open.last_mut()
                .ok_or("closed too often")?
                .children
                .push(closed);
            rest = after;
        } else if let Some(after) = rest.strip_prefix('<') {
            let (tag, after) = after.split_once('>').ok_or("an open tag")?;
            let (tag, empty) = tag
                .strip_suffix('/')
                .map_or((tag, false), |tag| (tag, true));
            let element = start(tag)?;
            if empty {
                top.children.push(element)
            } else {
                open.push(element)
            }
            rest = after;
        } else {
            let end = rest.find('<').unwrap_or(rest.len());
            top.text.push_str(&unescaped(&rest[..end])?);
            rest = &rest[end..];
        }
    }
    let mut outer = open.pop().ok_or("closed too often")?;
    match (open.is_empty(), outer.children.pop(), outer.text.trim()) {
        (true, Some(root), "") if outer.children.is_empty() => Ok(root),
        (_, _, text) => Err(format!(
            "not one root: {} more, text {text:?}",
            outer.children.len()
        )),
    }
}

/// No value of the sandbox contains an unescaped `>`.
fn start(tag: &str) -> Result<Element, String> {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("<{name}"));
    }
    let mut element = Element {
        name: name.to_owned(),
        ..Element::default()
    };
    while !rest.is_empty() {
        let (name, after) = rest
            .trim_start()
            .split_once("=\"")
            .ok_or("an attribute without a value")?;
        let (value, after) = after.split_once('"').ok_or("an open value")?;
        if element.attribute(name).is_some() || value.contains('<') {
            return Err(format!("the attribute {name}"));
        }
        element
            .attributes
            .push((name.to_owned(), unescaped(value)?));
        rest = after;
    }
    Ok(element)
}

fn unescaped(text: &str) -> Result<String, String> {
    if text.contains("]]>") {
        return Err("]]> in a text".to_owned());
    }
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, after) = part.split_once(';').ok_or("an open reference")?;
        let number = |digits: &str, radix| {
            u32::from_str_radix(digits, radix)
                .ok()
                .and_then(char::from_u32)
        };
        let letter = match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => name.strip_prefix("#x").map_or_else(
                || number(name.strip_prefix('#')?, 10),
                |hex| number(hex, 16),
            ),
        };
        out.push(letter.ok_or_else(|| format!("&{name};"))?);
        out.push_str(after);
    }
    Ok(out)
}
