//! Every SQL statement of the product is prepared against the migrated catalogue, so that a
//! misspelt column or table fails a test also when no other test executes the statement.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use crate::support::context::TestContext;

/// The first word of a statement.
const VERBS: [&str; 12] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "WITH",
    "PRAGMA",
    "VACUUM",
    "CREATE",
    "ANALYZE",
    "SAVEPOINT",
    "RELEASE",
    "ROLLBACK",
];

/// Calls of sqlx that take the text of a statement.
const CALLS: [&str; 4] = ["query", "query_as", "query_scalar", "raw_sql"];

/// Calls whose argument is a variable of a loop over literals, which are found as literals.
const ELSEWHERE: [&str; 6] = [
    "datasets/verify_versions/catalogue_rules.rs: statement",
    "db/sqlite_settings.rs: pragma",
    "notifications/outbox/mod.rs: moved",
    "puller/scheduler/clock_jump.rs: moved",
    "puller/scheduler/clock_jump.rs: happened",
    "puller/verify_runs.rs: statement",
];

/// A `macro_rules` macro with one rule: its parameters, and the tokens that it expands to.
struct TextMacro {
    parameters: Vec<String>,
    body: Vec<TokenTree>,
}

/// The texts that names stand for.
#[derive(Default)]
struct Texts {
    macros: BTreeMap<String, TextMacro>,
    /// Constants by file and name.
    constants: BTreeMap<(PathBuf, String), Vec<TokenTree>>,
}

#[derive(Debug)]
struct Statement {
    file: PathBuf,
    text: String,
}

fn sources() -> Vec<(PathBuf, Vec<TokenTree>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut found, mut dirs) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                dirs.extend((name != "tests").then_some(path));
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let tokens: TokenStream =
                    text.parse().unwrap_or_else(|why| panic!("{path:?}: {why}"));
                found.push((
                    path.strip_prefix(&root).unwrap().to_owned(),
                    without_tests(tokens),
                ));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

/// The tokens without `#[cfg(test)] mod ... { ... }`.
fn without_tests(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    let mut is_test = false;
    for token in tokens {
        let attribute =
            matches!(kept.last(), Some(TokenTree::Punct(mark)) if mark.as_char() == '#');
        match &token {
            TokenTree::Group(group) if attribute => {
                is_test |= group.stream().to_string().replace(' ', "") == "cfg(test)";
                kept.push(token);
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace && is_test => {
                is_test = false;
            }
            TokenTree::Punct(mark) if mark.as_char() == ';' => {
                is_test = false;
                kept.push(token);
            }
            _ => kept.push(token),
        }
    }
    kept
}

fn is_ident(token: Option<&TokenTree>, name: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == name)
}

fn is_mark(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

fn inner(token: &TokenTree) -> Vec<TokenTree> {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The arguments of a call, by their commas.
fn arguments(tokens: &[TokenTree]) -> Vec<&[TokenTree]> {
    tokens
        .split(|token| is_mark(Some(token), ','))
        .filter(|argument| !argument.is_empty())
        .collect()
}

impl Texts {
    fn of(sources: &[(PathBuf, Vec<TokenTree>)]) -> Self {
        let mut texts = Self::default();
        for (file, tokens) in sources {
            texts.collect(file, tokens);
        }
        texts
    }

    fn collect(&mut self, file: &Path, tokens: &[TokenTree]) {
        for (at, token) in tokens.iter().enumerate() {
            if is_ident(Some(token), "macro_rules") && is_mark(tokens.get(at + 1), '!') {
                self.add_macro(&tokens[at + 2].to_string(), &inner(&tokens[at + 3]));
            } else if (is_ident(Some(token), "const") || is_ident(Some(token), "let"))
                && let Some(TokenTree::Ident(name)) = tokens.get(at + 1)
            {
                let value = tokens[at..]
                    .iter()
                    .skip_while(|token| !is_mark(Some(token), '='))
                    .skip(1)
                    .take_while(|token| !is_mark(Some(token), ';'))
                    .cloned()
                    .collect();
                self.constants
                    .insert((file.to_owned(), name.to_string()), value);
            }
            if let TokenTree::Group(_) = token {
                self.collect(file, &inner(token));
            }
        }
    }

    fn add_macro(&mut self, name: &str, rules: &[TokenTree]) {
        // (pattern) => { body }
        let (Some(pattern), Some(body)) = (rules.first(), rules.get(3)) else {
            return;
        };
        let pattern = inner(pattern);
        let parameters = pattern
            .iter()
            .enumerate()
            .filter(|(at, _)| *at > 0 && is_mark(pattern.get(at - 1), '$'))
            .map(|(_, token)| token.to_string())
            .collect();
        let body = inner(body);
        self.macros
            .insert(name.to_owned(), TextMacro { parameters, body });
    }

    /// The text that an expression of literals, `concat!`, macros and constants stands for.
    fn text(&self, file: &Path, tokens: &[TokenTree]) -> Option<String> {
        match tokens {
            [TokenTree::Literal(literal)] => {
                let tokens = TokenStream::from(TokenTree::Literal(literal.clone()));
                Some(syn::parse2::<syn::LitStr>(tokens).ok()?.value())
            }
            [TokenTree::Ident(name)] => self.constant(file, &name.to_string()),
            [.., TokenTree::Punct(_), TokenTree::Ident(name)]
                if is_mark(tokens.get(1), ':') || is_ident(tokens.first(), "super") =>
            {
                self.constant(file, &name.to_string())
            }
            [
                TokenTree::Ident(name),
                TokenTree::Punct(mark),
                group @ TokenTree::Group(_),
            ] if mark.as_char() == '!' => {
                let (name, group) = (name.to_string(), inner(group));
                let given = arguments(&group);
                if name == "concat" {
                    return given
                        .into_iter()
                        .map(|part| self.text(file, part))
                        .collect();
                }
                let text_macro = self.macros.get(&name)?;
                if given.len() != text_macro.parameters.len() {
                    return None;
                }
                let replaced = text_macro.replace(&given);
                self.text(file, &replaced)
            }
            _ => None,
        }
    }

    /// A constant of this file, of the closest module above it, or the only one of this name.
    fn constant(&self, file: &Path, name: &str) -> Option<String> {
        let above = file.ancestors().skip(1).map(|folder| folder.join("mod.rs"));
        let near = std::iter::once(file.to_owned())
            .chain(above)
            .find_map(|file| self.constants.get_key_value(&(file, name.to_owned())));
        let mut all = self
            .constants
            .iter()
            .filter(|((_, other), _)| other == name);
        let ((file, _), value) = match (near, all.next(), all.next()) {
            (Some(near), ..) => near,
            (None, Some(only), None) => only,
            _ => return None,
        };
        self.text(file, value)
    }
}

impl TextMacro {
    /// The body with the arguments in place of `$parameter`.
    fn replace(&self, given: &[&[TokenTree]]) -> Vec<TokenTree> {
        fn replace(
            tokens: Vec<TokenTree>,
            parameters: &[String],
            given: &[&[TokenTree]],
        ) -> Vec<TokenTree> {
            let mut out = Vec::new();
            let mut rest = tokens.into_iter().peekable();
            while let Some(token) = rest.next() {
                let parameter = is_mark(Some(&token), '$')
                    .then(|| rest.peek().map(ToString::to_string))
                    .flatten()
                    .and_then(|name| parameters.iter().position(|known| *known == name));
                match (parameter, &token) {
                    (Some(at), _) => {
                        rest.next();
                        out.extend(given[at].iter().cloned());
                    }
                    (None, TokenTree::Group(group)) => {
                        let stream = replace(inner(&token), parameters, given);
                        out.push(TokenTree::Group(proc_macro2::Group::new(
                            group.delimiter(),
                            stream.into_iter().collect(),
                        )));
                    }
                    _ => out.push(token),
                }
            }
            out
        }
        replace(self.body.clone(), &self.parameters, given)
    }
}

fn is_statement(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    VERBS.contains(&first) && text.trim().contains(char::is_whitespace)
}

struct Statements<'a> {
    texts: &'a Texts,
    found: Vec<Statement>,
    /// Arguments of sqlx calls whose text is only known when the program runs.
    unknown: Vec<String>,
}

impl Statements<'_> {
    fn collect(&mut self, file: &Path, tokens: &[TokenTree]) {
        let mut at = 0;
        while at < tokens.len() {
            // Definitions of macros are found where they are used.
            if is_ident(tokens.get(at), "macro_rules") {
                at += 4;
                continue;
            }
            let is_macro = is_mark(tokens.get(at + 1), '!')
                && matches!(tokens.get(at + 2), Some(TokenTree::Group(_)));
            let length = if is_macro { 3 } else { 1 };
            let expression = &tokens[at..at + length];
            let is_text = is_macro || matches!(expression, [TokenTree::Literal(_)]);
            if is_text && let Some(text) = self.texts.text(file, expression) {
                if is_statement(&text) {
                    self.found.push(Statement {
                        file: file.to_owned(),
                        text,
                    });
                }
                at += length;
                continue;
            }
            self.check_call(file, tokens, at);
            if let TokenTree::Group(_) = &tokens[at] {
                self.collect(file, &inner(&tokens[at]));
            }
            at += 1;
        }
    }

    /// Records a call of sqlx whose statement cannot be found in the source.
    fn check_call(&mut self, file: &Path, tokens: &[TokenTree], at: usize) {
        let is_call = CALLS.iter().any(|name| is_ident(tokens.get(at), name))
            && at > 2
            && is_ident(tokens.get(at - 3), "sqlx");
        if !is_call {
            return;
        }
        let Some(group) = tokens[at..]
            .iter()
            .take(12)
            .find(|token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis))
        else {
            return;
        };
        let group = inner(group);
        let Some(statement) = arguments(&group).first().copied() else {
            return;
        };
        match self.texts.text(file, statement) {
            Some(text) => assert!(is_statement(&text), "{file:?}: {text}"),
            None => {
                let argument: TokenStream = statement.iter().cloned().collect();
                self.unknown.push(format!("{}: {argument}", file.display()));
            }
        }
    }
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let sources = sources();
    let texts = Texts::of(&sources);
    let mut statements = Statements {
        texts: &texts,
        found: Vec::new(),
        unknown: Vec::new(),
    };
    for (file, tokens) in &sources {
        statements.collect(file, tokens);
    }
    assert!(
        statements.found.len() > 350,
        "only {} statements were found",
        statements.found.len()
    );

    let ctx = TestContext::new().await;
    let mut connection = ctx.app.db.read().acquire().await.unwrap();
    let mut failed = Vec::new();
    for Statement { file, text } in &statements.found {
        let statement = AssertSqlSafe(text.clone()).into_sql_str();
        if let Err(why) = connection.prepare(statement).await {
            failed.push(format!("{}: {why}\n{text}", file.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert_eq!(statements.unknown, ELSEWHERE);
}

#[test]
fn statements_are_found_in_literals_constants_and_macros() {
    let code = r#"
        macro_rules! select_x { ($rest:literal) => { concat!("SELECT a FROM x ", $rest) }; }
        const ALL: &str = "SELECT b FROM y";
        fn f() {
            sqlx::query(select_x!("WHERE c = 1"));
            sqlx::query_as::<_, Row>(ALL);
            let later = "DELETE FROM z";
            sqlx::query(later);
            sqlx::query(unknown);
        }
        #[cfg(test)]
        mod tests { fn g() { sqlx::query("SELECT test"); } }
    "#;
    let file = PathBuf::from("x.rs");
    let sources = [(file.clone(), without_tests(code.parse().unwrap()))];
    let texts = Texts::of(&sources);
    let mut statements = Statements {
        texts: &texts,
        found: Vec::new(),
        unknown: Vec::new(),
    };
    statements.collect(&file, &sources[0].1);
    let found: Vec<&str> = statements.found.iter().map(|s| s.text.as_str()).collect();
    assert_eq!(
        found,
        [
            "SELECT b FROM y",
            "SELECT a FROM x WHERE c = 1",
            "DELETE FROM z"
        ]
    );
    assert_eq!(statements.unknown, ["x.rs: unknown"]);
}
