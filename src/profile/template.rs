//! Templates of a vendor, compiled once. Strict about undefined names, limited in work and size, without I/O. A secret
//! is never in a template's reach: `secret_param` leaves a mark where one may stand, and nothing else can make marks.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value};

use super::escape::{EscapeError, Writing};
use super::part::Part;
use super::rendered::SecretForm;
use crate::secret::SecretKind;

/// Steps of one rendering; the longest real file (three expansion modules) takes a tenth of it, about two milliseconds.
const TEMPLATE_FUEL: u64 = 250_000;
/// Bytes of one rendered file; phones refuse more than a few hundred kilobytes themselves.
const RENDERED_BYTES_MAX: usize = 1 << 20;
/// Depth of blocks, macros and includes; a macro counts for several.
const TEMPLATE_DEPTH_MAX: usize = 100;

/// Around a slot's number in what a template drew. No data and no template text may hold them.
pub(super) const MARK_OPEN: char = '\u{1}';
pub(super) const MARK_CLOSE: char = '\u{2}';
/// Between the marks: here the raw parameters stand.
pub(super) const RAW_MARK: &str = "raw";

/// `[map.NAME]` tables.
pub(super) type Maps = BTreeMap<String, BTreeMap<String, String>>;

/// A vendor's templates, compiled for each way of writing that its files have.
#[derive(Debug)]
pub(super) struct Templates {
    engines: BTreeMap<Writing, Environment<'static>>,
}

/// What a template drew: text with marks, and what each mark stands for.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) text: String,
    pub(super) trace: Trace,
}

/// What a template said beside its text.
#[derive(Debug, Default, Clone)]
pub(super) struct Trace {
    pub(super) slots: Vec<SlotCall>,
    pub(super) notes: Vec<String>,
    /// Whether there is a place for raw parameters.
    pub(super) raw: bool,
}

/// One call of `secret_param`.
#[derive(Debug, Clone)]
pub(super) struct SlotCall {
    pub(super) kind: SecretKind,
    pub(super) line: Option<u16>,
    pub(super) name: String,
    pub(super) attributes: String,
    pub(super) part: Part,
    /// Instead of the file's own form.
    pub(super) form: Option<SecretForm>,
}

/// A template that failed: which, where, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateError {
    pub(super) template: String,
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

impl Templates {
    /// Compiles `sources` (by file name) for each of `writings`.
    pub(super) fn compile(
        sources: &BTreeMap<String, String>,
        writings: &BTreeSet<Writing>,
        maps: &Arc<Maps>,
    ) -> Result<Self, Vec<TemplateError>> {
        let mut errors: Vec<TemplateError> =
            sources.iter().filter_map(|(name, text)| control_character(name, text)).collect();
        let mut engines = BTreeMap::new();
        for writing in writings {
            match engine(writing, sources, maps) {
                Ok(engine) => {
                    engines.insert(writing.clone(), engine);
                }
                Err(error) if errors.contains(&error) => {}
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(Self { engines }) } else { Err(errors) }
    }

    /// Whether one of the templates reads this name, dotted as it stands there; for people's commands, as it reads all
    /// templates anew.
    pub(super) fn reads(&self, name: &str) -> bool {
        let Some(engine) = self.engines.values().next() else { return false };
        engine.templates().any(|(_, template)| template.undeclared_variables(true).contains(name))
    }

    /// The same of this template alone.
    pub(super) fn template_reads(&self, template: &str, name: &str) -> bool {
        let engine = self.engines.values().next();
        let template = engine.and_then(|engine| engine.get_template(template).ok());
        template.is_some_and(|template| template.undeclared_variables(true).contains(name))
    }

    /// Draws a file. The same context gives the same bytes.
    pub(super) fn draw(
        &self,
        template: &str,
        writing: &Writing,
        context: Value,
    ) -> Result<Drawing, TemplateError> {
        let fail = |error: &Error| self.error(template, writing, error);
        let engine = self.engines.get(writing).ok_or_else(|| TemplateError {
            template: template.to_owned(),
            line: None,
            message: "was not compiled for this format".to_owned(),
        })?;
        let compiled = engine.get_template(template).map_err(|error| fail(&error))?;
        let mut paper = Paper(Vec::with_capacity(8192));
        let mut captured = compiled.render_captured_to(context, &mut paper).map_err(|error| fail(&error))?;
        let trace = captured
            .with_state_mut(|state| state.get_extension_mut::<Trace>().map(std::mem::take))
            .unwrap_or_default();
        let text = String::from_utf8(paper.0).map_err(|_| TemplateError {
            template: template.to_owned(),
            line: None,
            message: "drew bytes that are not UTF-8".to_owned(),
        })?;
        Ok(Drawing { text, trace })
    }

    /// An error in words, with the line of the template that it happened in.
    fn error(&self, template: &str, writing: &Writing, error: &Error) -> TemplateError {
        let name = error.name().unwrap_or(template);
        let source = self.engines.get(writing).and_then(|engine| engine.get_template(name).ok());
        let quoted = error.line().zip(source.as_ref()).and_then(|(line, source)| {
            source.source().lines().nth(line.saturating_sub(1)).map(|text| format!(" in `{}`", text.trim()))
        });
        let hint =
            if names_secret(error) { ": no template sees a secret; use secret_param(…)" } else { "" };
        TemplateError {
            template: name.to_owned(),
            line: error.line(),
            message: format!("{}{}{hint}", reason(error), quoted.unwrap_or_default()),
        }
    }
}

/// The sentence of an error without its place, which is told apart, and of what caused it.
fn reason(error: &Error) -> String {
    let own = match (error.kind(), error.detail()) {
        (ErrorKind::WriteFailure, _) => format!("the file grows beyond {RENDERED_BYTES_MAX} bytes"),
        (ErrorKind::OutOfFuel, _) => format!("the template takes more than {TEMPLATE_FUEL} steps"),
        (ErrorKind::UndefinedError, None) => "a name is not defined".to_owned(),
        // "`line.colour` is undefined", and where it stood when it was handed to a macro.
        (ErrorKind::UndefinedError, Some(detail)) => detail.replace("` is undefined", "` is not defined"),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    match std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>()) {
        Some(cause) => format!("{own}: {}", reason(cause)),
        None => own,
    }
}

/// Whether the name that is not defined is a secret's.
fn names_secret(error: &Error) -> bool {
    let named = error.detail().filter(|_| error.kind() == ErrorKind::UndefinedError);
    let name = named.and_then(|detail| detail.split('`').nth(1)).unwrap_or_default();
    let last = name.rsplit(['.', '[']).next().unwrap_or_default();
    matches!(last.trim_matches(['"', '\'', ']']), "password" | "secret")
}

/// A template's text may hold line ends and tabs, and no other control character: those are the marks' alone.
fn control_character(name: &str, text: &str) -> Option<TemplateError> {
    let at = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))?;
    let line = text.get(..at)?.matches('\n').count() + 1;
    Some(TemplateError {
        template: name.to_owned(),
        line: Some(line),
        message: "holds a control character; remove it".to_owned(),
    })
}

fn engine(
    writing: &Writing,
    sources: &BTreeMap<String, String>,
    maps: &Arc<Maps>,
) -> Result<Environment<'static>, TemplateError> {
    let mut engine = Environment::new();
    let syntax =
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    let at = |template: &str, error: &Error| TemplateError {
        template: template.to_owned(),
        line: error.line(),
        message: reason(error),
    };
    engine.set_syntax(syntax.map_err(|error| at("", &error))?);
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    // Errors then say which name is not defined.
    engine.set_debug(true);
    engine.set_fuel(Some(TEMPLATE_FUEL));
    engine.set_recursion_limit(TEMPLATE_DEPTH_MAX);
    // Any escaping but "none" makes what macros and blocks captured count as written: escaped once, by our formatter.
    engine.set_auto_escape_callback(|_| AutoEscape::Custom("offhook".into()));
    let writing = writing.clone();
    engine.set_formatter(move |out, _state, value| write_value(&writing, out, value));
    engine.remove_filter("safe");
    engine.add_function("secret_param", secret_param);
    engine.add_function("raw", raw);
    engine.add_function("note", note);
    engine.add_function("fail", fail);
    let maps = Arc::clone(maps);
    engine.add_filter("mapped", move |value: Value, table: String, default: Option<Value>| {
        mapped(&maps, &value, &table, default)
    });
    for (name, source) in sources {
        engine.add_template_owned(name.clone(), source.clone()).map_err(|error| at(name, &error))?;
    }
    Ok(engine)
}

/// Prints a value: text escaped, numbers and bools as they are, everything else refused, because a phone's file with
/// "none" or "[1, 2]" in it is always a mistake.
fn write_value(writing: &Writing, out: &mut Output<'_>, value: &Value) -> Result<(), Error> {
    let written = match (value.kind(), value.as_str()) {
        (ValueKind::String, Some(text)) if value.is_safe() => out.write_str(text).map_err(EscapeError::from),
        (ValueKind::String, Some(text)) => writing.escape(text, out),
        (ValueKind::Bool, _) => {
            out.write_str(if value.is_true() { "true" } else { "false" }).map_err(EscapeError::from)
        }
        (ValueKind::Number, _) => writing.escape(&value.to_string(), out),
        (ValueKind::None, _) => return Err(refuse("prints none; test it with `if`, or give it a `default`")),
        (kind, _) => return Err(refuse(format!("prints a {kind}; print its parts"))),
    };
    written.map_err(|error| match error {
        EscapeError::Unwritable(reason) => refuse(format!("a value {reason}")),
        EscapeError::Full => Error::from(ErrorKind::WriteFailure),
    })
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// `secret_param(kind, line, name, attributes="", part="whole", form=…)`: a place for a secret.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands arguments over by value")]
fn secret_param(
    state: &mut State<'_, '_>,
    kind: String,
    line: Option<u16>,
    name: String,
    options: Kwargs,
) -> Result<Value, Error> {
    let kind: SecretKind = kind.parse().map_err(refuse)?;
    let line = match kind {
        SecretKind::Sip => Some(
            line.filter(|line| *line > 0).ok_or_else(|| refuse("secret_param of kind sip needs a line"))?,
        ),
        SecretKind::Menu | SecretKind::Webui | SecretKind::Prov => None,
    };
    let attributes = options.get::<Option<String>>("attributes")?.unwrap_or_default();
    let part: Part = options.get::<Option<&str>>("part")?.unwrap_or("whole").parse().map_err(refuse)?;
    if part.is_of_url() && kind != SecretKind::Prov {
        return Err(refuse("only the prov secret, a URL, has parts"));
    }
    if part == Part::Md5Crypt && kind == SecretKind::Prov {
        return Err(refuse("the prov secret is a URL, and no password: it has no hash"));
    }
    let form = options.get::<Option<&str>>("form")?.map(SecretForm::checked).transpose().map_err(refuse)?;
    options.assert_all_used()?;
    let trace = state.get_or_insert_extension(Trace::default());
    let number = trace.slots.len();
    trace.slots.push(SlotCall { kind, line, name, attributes, part, form });
    Ok(Value::from_safe_string(format!("{MARK_OPEN}{number}{MARK_CLOSE}")))
}

/// `raw()`: the place for raw parameters, on a line of its own.
fn raw(state: &mut State<'_, '_>) -> Result<Value, Error> {
    let trace = state.get_or_insert_extension(Trace::default());
    if std::mem::replace(&mut trace.raw, true) {
        return Err(refuse("raw() stands in a file twice; the parameters would stand there twice"));
    }
    Ok(Value::from_safe_string(format!("{MARK_OPEN}{RAW_MARK}{MARK_CLOSE}")))
}

/// `note(text)`: told to whoever renders or plans; nothing in the file.
fn note(state: &mut State<'_, '_>, text: String) -> Value {
    state.get_or_insert_extension(Trace::default()).notes.push(text);
    Value::from_safe_string(String::new())
}

/// `fail(text)`: this file cannot be made, and why.
fn fail(text: String) -> Result<Value, Error> {
    Err(refuse(text))
}

/// `value | mapped("table")` or `value | mapped("table", default)`.
fn mapped(maps: &Maps, value: &Value, table: &str, default: Option<Value>) -> Result<Value, Error> {
    let entries = maps
        .get(table)
        .ok_or_else(|| refuse(format!("there is no table [map.{table}]; add it to profile.toml")))?;
    if value.is_undefined() {
        // Its own error knows the name.
        return value.get_attr(table).and(Err(ErrorKind::UndefinedError.into()));
    }
    let key = match value.kind() {
        ValueKind::Bool => (if value.is_true() { "true" } else { "false" }).to_owned(),
        _ => value.to_string(),
    };
    match (entries.get(&key), default) {
        (Some(entry), _) => Ok(Value::from(entry.clone())),
        (None, Some(default)) => Ok(default),
        (None, None) => {
            Err(refuse(format!("[map.{table}] has no entry for '{key}'; add it, or give mapped() a default")))
        }
    }
}

/// Where a template writes, up to a limit.
struct Paper(Vec<u8>);

impl io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;

    use super::super::schema::Format;
    use super::*;

    fn templates(format: Format, files: &[(&str, &str)]) -> Result<Templates, Vec<TemplateError>> {
        let sources = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let transport =
            BTreeMap::from([("tls".to_owned(), "2".to_owned()), ("true".to_owned(), "1".to_owned())]);
        let maps = Arc::new(Maps::from([("transport".to_owned(), transport)]));
        Templates::compile(&sources, &BTreeSet::from([format.into()]), &maps)
    }

    fn drawn(format: Format, text: &str) -> Result<String, String> {
        let context = context! {
            name => "a<b>&\"c\"", evil => "x\nadmin = 1", none => (), list => vec![1, 2], flag => true, number => 7,
        };
        let templates = templates(format, &[("t", text)]).map_err(|errors| errors[0].message.clone())?;
        templates
            .draw("t", &format.into(), context)
            .map(|drawing| drawing.text)
            .map_err(|error| error.message)
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(drawn(Format::Line, text).as_deref(), Ok(expected), "{text}");
    }

    fn check_error(text: &str, expected: &str) {
        let error = drawn(Format::Line, text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn blocks_leave_no_trace_and_the_last_newline_stays() {
        check("a\n{% if flag %}\nb\n{% endif %}\nc\n", "a\nb\nc\n");
        check("  {% set x = 1 %}\n{{ x }}{{ number }} {{ flag }}\n", "17 true\n");
    }

    #[test]
    fn values_are_escaped_once_also_through_macros() {
        let text = "{% macro m(x) %}<i>{{ x }}</i>{% endmacro %}{{ m(name) }}{{ m(m(name)) }}";
        let once = "a&lt;b&gt;&amp;&quot;c&quot;";
        let expected = format!("<i>{once}</i><i><i>{once}</i></i>");
        assert_eq!(drawn(Format::Xml, text).as_deref(), Ok(expected.as_str()));
        let evasive = "{% autoescape none %}{{ name }}{{ name|e }}{{ '<' ~ name }}{% endautoescape %}";
        let text = drawn(Format::Xml, evasive).unwrap_or_default();
        assert!(!text.contains('<'), "{text}");
    }

    #[test]
    fn what_is_always_a_mistake_is_an_error() {
        check_error("{{ missing }}", "not defined");
        check_error("\n{{ missing }}", "in `{{ missing }}`");
        check_error("{% if missing %}{% endif %}", "not defined");
        check_error("{{ none }}", "prints none");
        check_error("{{ list }}", "prints a sequence");
        check_error("{{ evil }}", "control character (U+000A)");
        check_error("{{ 'a\\u0001' }}", "control character (U+0001)");
        check_error("{{ name|safe }}", "unknown filter");
        check_error("{{ fail('no such model') }}", "no such model");
        check_error("\u{1}0\u{2}", "control character");
        check_error("{{ secret_param('sip', 0, 'a') }}", "needs a line");
        check_error("{{ secret_param('wifi', 1, 'a') }}", "not a kind of secret");
        check_error("{{ secret_param('sip', 1, 'a', part='host') }}", "has parts");
        check_error("{{ secret_param('prov', 0, 'a', part='query') }}", "no part of a secret");
        check_error("{{ secret_param('prov', 0, 'a', part='md5-crypt') }}", "has no hash");
        check_error("{{ secret_param('prov', 0, 'a', form='{name}') }}", "{value}");
    }

    #[test]
    fn an_undefined_name_is_named() {
        check_error("a\n{{ missing }}", "`missing` is not defined in `{{ missing }}`");
        check_error("{{ name.colour }}", "`name.colour` is not defined in");
        check_error("{{ name.colour.tone }}", "`name.colour` is not defined in");
        check_error("{% if missing %}{% endif %}", "`missing` is not defined in");
        check_error("{{ missing|mapped('transport') }}", "`missing` is not defined in");
        let hint = "`: no template sees a secret; use secret_param(…)";
        for secret in ["name.password", "password", "name['secret']", "name.password|mapped('transport')"] {
            check_error(&format!("pw = {{{{ {secret} }}}}"), hint);
        }
        assert!(!drawn(Format::Line, "{{ name.password_kind }}").unwrap_err().contains(hint));
    }

    #[test]
    fn what_a_macro_was_handed_is_told_with_the_line_of_the_call() {
        let text = "{% macro m(x) %}\n{{ x }}\n{% endmacro %}\n{{ m(1) }}\n{{ m(missing) }}\n";
        check_error(text, "`missing` is not defined (from line 5) in `{{ x }}`");
    }

    #[test]
    fn tables_translate_and_name_what_they_lack() {
        check("{{ 'tls'|mapped('transport') }}{{ flag|mapped('transport') }}", "21");
        check("{{ 'udp'|mapped('transport', '0') }}", "0");
        check_error("{{ 'udp'|mapped('transport') }}", "[map.transport] has no entry for 'udp'");
        check_error("{{ 'udp'|mapped('tone') }}", "no table [map.tone]");
    }

    #[test]
    fn work_size_and_depth_are_limited() {
        check_error("{% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}", "");
        check_error("{% set x = 'ab' * 100000000 %}{{ x }}", "");
        check_error("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "");
        check_error("{% for i in range(300) %}{{ 'abcdefgh' * 512 }}{% endfor %}", "grows beyond");
    }

    #[test]
    fn slots_and_notes_are_traced_also_in_macros_of_other_files() {
        let templates = templates(
            Format::Xml,
            &[
                ("macros", "{% macro pass(n) %}{{ secret_param('sip', n, 'user_pass', attributes='idx=\"1\"') }}{% endmacro %}"),
                ("t", "{% from 'macros' import pass %}{{ note('old model') }}{{ pass(2) }}|{{ secret_param('menu', 0, 'pin') }}"),
            ],
        )
        .unwrap();
        let drawing = templates.draw("t", &Format::Xml.into(), context! {}).unwrap();
        assert_eq!(drawing.text, "\u{1}0\u{2}|\u{1}1\u{2}");
        assert_eq!(drawing.trace.notes, ["old model"]);
        let slots: Vec<_> =
            drawing.trace.slots.iter().map(|slot| (slot.kind, slot.line, slot.name.as_str())).collect();
        assert_eq!(slots, [(SecretKind::Sip, Some(2), "user_pass"), (SecretKind::Menu, None, "pin")]);
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let errors = templates(Format::Line, &[("t", "a\n{% if %}\n")]).unwrap_err();
        assert_eq!((errors[0].template.as_str(), errors[0].line), ("t", Some(2)));
    }
}
