//! Reads the configuration file, lays environment variables over it, and says precisely what it did not understand.

use std::path::{Path, PathBuf};

use super::Config;

/// The prefix of a knob's environment variable: `OFFHOOK_HTTP__LISTEN` is `http.listen`.
const ENVIRONMENT_PREFIX: &str = "OFFHOOK_";

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file, if there was one.
    pub file: Option<PathBuf>,
}

/// Why a configuration was refused. Nothing of it is applied.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A key or value was not understood.
    #[error("{place}: {reason}")]
    Meaning {
        /// `offhook.toml:12` or the name of an environment variable.
        place: String,
        /// What is wrong, with the nearest key where a key is unknown.
        reason: String,
    },
}

/// Loads `file` (or `default_file`, if that exists) and the variables of `environment` over it.
pub fn load(
    file: Option<&Path>,
    default_file: &Path,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, ConfigError> {
    let file = file.map(Path::to_owned).or_else(|| default_file.exists().then(|| default_file.to_owned()));
    let text = match &file {
        None => String::new(),
        Some(path) => {
            std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.clone(), error })?
        }
    };
    let place = file.as_ref().map_or("offhook.toml".to_owned(), |path| path.display().to_string());
    let mut config: Config = toml::from_str(&text).map_err(|error| meaning(&place, &text, &error))?;
    let overrides: Vec<(String, String)> =
        environment.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX) && name.contains("__")).collect();
    if !overrides.is_empty() {
        config = with_environment(&text, overrides)?;
    }
    let beside = file.as_deref().map(|path| path.parent().unwrap_or_else(|| Path::new(".")));
    if let (Some(dir), Some(beside)) = (&config.profiles.dir, beside) {
        config.profiles.dir = Some(beside.join(dir));
    }
    config.https.beside(beside).map_err(|reason| ConfigError::Meaning {
        place: "https.key".to_owned(),
        reason: reason.to_owned(),
    })?;
    if let Some(reason) = config.menu.wrong() {
        return Err(ConfigError::Meaning { place: "menu.forward_on".to_owned(), reason: reason.to_owned() });
    }
    Ok(Loaded { config, file })
}

/// Lays one variable after the other over the file, so that an error names the variable that caused it.
fn with_environment(text: &str, mut overrides: Vec<(String, String)>) -> Result<Config, ConfigError> {
    overrides.sort();
    let mut table: toml::Table = toml::from_str(text).map_err(|error| ConfigError::Meaning {
        place: "environment".to_owned(),
        reason: error.message().to_owned(),
    })?;
    let mut config = Config::default();
    for (name, value) in overrides {
        let refuse = |reason: String| ConfigError::Meaning { place: name.clone(), reason };
        let path = name.trim_start_matches(ENVIRONMENT_PREFIX).to_ascii_lowercase();
        let Some((section, key)) = path.split_once("__") else { continue };
        if table.get(section).is_some_and(|section| !section.is_table()) {
            return Err(refuse("is not a section of the configuration".to_owned()));
        }
        let laid = |value: toml::Value| {
            let mut table = table.clone();
            let section = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            if let Some(section) = section.as_table_mut() {
                section.insert(key.replace("__", "."), value);
            }
            let config: Config = toml::Value::Table(table.clone()).try_into()?;
            Ok::<_, toml::de::Error>((table, config))
        };
        // Told is what is wrong with the first reading, which is the plainest.
        let read = laid(literal(&value)).or_else(|error| {
            laid(toml::Value::String(value.clone())).or_else(|_| laid(list(&value))).map_err(|_| error)
        });
        (table, config) = read.map_err(|error| refuse(with_nearest(error.message())))?;
    }
    Ok(config)
}

/// `eth0,eth1` as a list of texts.
fn list(value: &str) -> toml::Value {
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    toml::Value::Array(items.map(|item| toml::Value::String(item.to_owned())).collect())
}

/// A variable's text as a TOML value where it is one (`true`, `64`, `["eth0"]`), else as a string.
fn literal(value: &str) -> toml::Value {
    let parsed = toml::from_str::<toml::Table>(&format!("value = {value}")).ok();
    parsed
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

fn meaning(place: &str, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(1, |span| 1 + text.get(..span.start).unwrap_or("").matches('\n').count());
    ConfigError::Meaning { place: format!("{place}:{line}"), reason: with_nearest(error.message()) }
}

/// Adds the nearest known key to serde's "unknown field `x`, expected one of `a`, `b`".
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.trim_end().to_owned();
    };
    let known: Vec<&str> = quoted.collect();
    match known.iter().min_by_key(|key| distance(unknown, key)) {
        Some(nearest) => {
            format!("unknown key '{unknown}'; did you mean '{nearest}'? (known: {})", known.join(", "))
        }
        None => format!("unknown key '{unknown}'"),
    }
}

/// Levenshtein distance, in characters.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((j, to), window) in b.iter().enumerate().zip(row.windows(2)) {
            let (&[diagonal, above], Some(&left)) = (window, next.get(j)) else { continue };
            next.push((diagonal + usize::from(from != *to)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::config::{AdoptPolicy, Listen};
    use crate::release::Window;

    fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("offhook.toml");
        std::fs::write(&file, text).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load(Some(&file), Path::new("/nonexistent"), environment).map(|loaded| loaded.config)
    }

    #[test]
    fn nothing_written_means_the_documented_defaults() {
        let config = read("", &[]).unwrap();
        assert_eq!(config.http.listen.address().unwrap().to_string(), "0.0.0.0:8480");
        assert_eq!(config.tftp.listen.address().unwrap().to_string(), "0.0.0.0:69");
        assert_eq!(config.admin.listen.address().unwrap().to_string(), "127.0.0.1:8482");
        assert_eq!((config.pnp.reply_port, config.pnp.enabled), (5065, true));
        assert_eq!(config.adopt.policy, AdoptPolicy::Approve);
        assert_eq!(config.release.window, Window::Of(Duration::from_mins(10)));
    }

    #[test]
    fn an_unknown_key_names_its_line_and_its_neighbour() {
        let error = read("[http]\n\nlisen = \"x\"\n", &[]).unwrap_err().to_string();
        assert!(error.contains("offhook.toml:3: unknown key 'lisen'; did you mean 'listen'?"), "{error}");
    }

    #[test]
    fn a_variable_wins_over_the_file_and_is_named_when_wrong() {
        let text = "[adopt]\npolicy = \"known\"\n";
        let config =
            read(text, &[("OFFHOOK_ADOPT__POLICY", "auto"), ("OFFHOOK_TFTP__LISTEN", "off")]).unwrap();
        assert_eq!((config.adopt.policy, config.tftp.listen), (AdoptPolicy::Auto, Listen::Off));
        let error = read("", &[("OFFHOOK_PNP__REPLY_PORT", "many")]).unwrap_err().to_string();
        assert!(error.starts_with("OFFHOOK_PNP__REPLY_PORT: "), "{error}");
    }

    #[test]
    fn a_variable_may_be_a_plain_list_and_a_number_may_be_a_text() {
        let variables = [
            ("OFFHOOK_ADOPT__ALLOW", "001565,00:04:13"),
            ("OFFHOOK_AGENT__INTERFACES", "eth0"),
            ("OFFHOOK_AGENT__NAME", "123"),
        ];
        let config = read("", &variables).unwrap();
        assert_eq!((config.adopt.allow.len(), config.agent.interfaces), (2, vec!["eth0".to_owned()]));
        assert_eq!(config.agent.name.as_deref(), Some("123"));
        let error = read("", &[("OFFHOOK_ADOPT__ALLOW", "001565,phone")]).unwrap_err().to_string();
        assert!(error.starts_with("OFFHOOK_ADOPT__ALLOW: "), "{error}");
    }

    #[test]
    fn a_window_has_bounds_and_only_the_web_password_may_have_none() {
        let check = |text: &str| read(&format!("[release]\n{text}\n"), &[]).map(|config| config.release);
        assert_eq!(check("webui_window = \"none\"").unwrap().webui_window, Some(Window::UntilAcked));
        assert_eq!(
            check("sip_window = \"90s\"").unwrap().sip_window,
            Some(Window::Of(Duration::from_secs(90)))
        );
        for wrong in
            ["window = \"none\"", "sip_window = \"none\"", "window = \"59s\"", "menu_window = \"25h\""]
        {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains("1m to 24h"), "{error}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("lisen", "listen"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
