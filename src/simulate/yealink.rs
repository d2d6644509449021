//! How a Yealink configures itself: which files, in which order, and what their lines mean (Yealink's Auto Provisioning
//! Guide, V81 and later). A boot file, where there is one, names the files; otherwise the model's common file and the
//! phone's own are asked for.

use super::fetch::Fetcher;
use super::report::{Diary, StepKind};
use super::settings::{Account, Given, Settings};
use super::url::{Url, host_and_port};
use crate::device::Transport;

/// One setting that exists once per user of the phone's web page; without `static.` before firmware 81.
const PASSWORDS: [&str; 2] = ["static.security.user_password", "security.user_password"];

/// Reads a whole configuration; returns how many files held settings.
pub(super) async fn configure(
    fetcher: &mut Fetcher<'_>,
    url: &Url,
    settings: &mut Settings,
    diary: &mut Diary<'_>,
) -> usize {
    if matches!(ending(url.name()), Some("cfg" | "boot")) {
        return read_one(fetcher, url, settings, diary).await;
    }
    if !url.is_folder() {
        diary.remark("a Yealink's URL names a folder and should end with a slash");
    }
    let folder =
        if url.is_folder() { url.clone() } else { Url { path: format!("{}/", url.path), ..url.clone() } };
    let mut read = 0;
    for name in fetcher.names() {
        let Ok(file) = folder.join(&name) else { continue };
        let boot = is_boot(&name);
        let found = read_one(fetcher, &file, settings, diary).await;
        read += found;
        if boot && found > 0 {
            break;
        }
    }
    read
}

fn is_boot(name: &str) -> bool {
    ending(name) == Some("boot")
}

fn ending(name: &str) -> Option<&str> {
    name.rsplit_once('.').map(|(_, ending)| ending)
}

/// Fetches one file and takes it in; a boot file's includes are fetched in its place. A missing file is harmless.
async fn read_one(
    fetcher: &mut Fetcher<'_>,
    url: &Url,
    settings: &mut Settings,
    diary: &mut Diary<'_>,
) -> usize {
    let Some(body) = fetcher.get(url, diary).await else { return 0 };
    let read = read_lines(&body);
    for remark in &read.remarks {
        diary.remark(format!("{}: {remark}", url.name()));
    }
    if !read.is_configuration {
        return 0;
    }
    if read.overwrite {
        diary.note(StepKind::Settings, format!("{} resets what it does not name", url.name()));
        settings.clear_all();
    }
    read.apply(settings);
    let mut count = usize::from(read.includes.is_empty());
    for include in &read.includes {
        let body = match fetcher.beside(url, include) {
            Ok(file) => {
                let body = fetcher.get(&file, diary).await;
                body.map(|body| (file, body))
            }
            Err(reason) => {
                diary.remark(format!("{}: {reason}", url.name()));
                None
            }
        };
        let Some((file, body)) = body else { continue };
        let included = read_lines(&body);
        for remark in &included.remarks {
            diary.remark(format!("{}: {remark}", file.name()));
        }
        if included.is_configuration {
            included.apply(settings);
            count += 1;
        }
    }
    count
}

/// A file, line by line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Whether its first line says that it is one; the phone ignores a file without.
    is_configuration: bool,
    values: Vec<(String, crate::secret::Secret)>,
    includes: Vec<String>,
    overwrite: bool,
    remarks: Vec<String>,
}

impl Lines {
    /// Takes the settings in; returns what was remarked.
    #[cfg(test)]
    pub(super) fn taken_into(self, settings: &mut Settings) -> Vec<String> {
        self.apply(settings);
        self.remarks
    }

    fn apply(&self, settings: &mut Settings) {
        for (name, value) in &self.values {
            match value.expose() {
                "%NULL%" | "%EMPTY%" => settings.clear(name, 0),
                value => settings.set(name, 0, value),
            }
        }
    }
}

/// Reads a `.cfg` or `.boot` file.
pub(super) fn read_lines(body: &[u8]) -> Lines {
    let mut read = Lines::default();
    let text = String::from_utf8_lossy(body);
    if matches!(text, std::borrow::Cow::Owned(_)) {
        read.remarks.push("bytes that are not UTF-8".to_owned());
    }
    let mut lines = text.lines().map(str::trim);
    read.is_configuration = lines.next().is_some_and(|line| line.starts_with("#!version:"));
    if !read.is_configuration {
        read.remarks
            .push("its first line is not #!version:1.0.0.1, so the phone ignores the file".to_owned());
        return read;
    }
    for (number, line) in lines.enumerate().map(|(index, line)| (index + 2, line)) {
        read_line(line, number, &mut read);
    }
    read
}

fn read_line(line: &str, number: usize, read: &mut Lines) {
    if line.is_empty() || line.starts_with('#') {
        return;
    }
    if let Some(target) = line.strip_prefix("include:config") {
        let target = target.trim().trim_matches(['<', '>', '"']).trim();
        read.includes.push(target.to_owned());
        return;
    }
    let Some((name, value)) = line.split_once('=') else {
        read.remarks.push(format!("line {number} is not 'key = value'"));
        return;
    };
    let (name, value) = (name.trim(), value.trim());
    if name.is_empty() || name.contains(char::is_whitespace) {
        read.remarks.push(format!("line {number} has no key"));
        return;
    }
    if name == "overwrite_mode" {
        read.overwrite = value == "1";
        return;
    }
    if name.ends_with("password") && value.is_empty() {
        read.remarks.push(format!("line {number} empties a password"));
    }
    // `static.security.user_password = admin:…`: the user is part of the value, one line for each.
    let name = match value.split_once(':') {
        Some((user, _)) if PASSWORDS.contains(&name) => format!("{name}:{user}"),
        _ => name.to_owned(),
    };
    read.values.push((name, crate::secret::Secret::new(value)));
}

/// The accounts that are switched on and have an address.
pub(super) fn accounts(settings: &Settings) -> Vec<Account> {
    (1..=100).filter_map(|line| account(settings, line)).collect()
}

fn account(settings: &Settings, line: u16) -> Option<Account> {
    let text = |name: &str| settings.text(&format!("account.{line}.{name}"), 0);
    if text("enable") != Some("1") {
        return None;
    }
    let username = text("user_name")?.to_owned();
    let host = text("sip_server.1.address")?.to_owned();
    let transport = match text("sip_server.1.transport_type").or_else(|| text("transport")).unwrap_or("0") {
        "1" => Transport::Tcp,
        "2" => Transport::Tls,
        _ => Transport::Udp,
    };
    let proxy = (text("outbound_proxy_enable") == Some("1"))
        .then(|| {
            let host = text("outbound_proxy.1.address").or_else(|| text("outbound_host"))?;
            let port = text("outbound_proxy.1.port").or_else(|| text("outbound_port"));
            host_and_port(host, port.and_then(|port| port.parse().ok()).unwrap_or(5060))
        })
        .flatten();
    Some(Account {
        line,
        port: text("sip_server.1.port").and_then(|port| port.parse().ok()).filter(|port| *port != 0),
        proxy,
        transport,
        auth_id: text("auth_name").map_or_else(|| username.clone(), str::to_owned),
        password_kept: settings.is_kept(&format!("account.{line}.password"), 0),
        password: settings.secret(&format!("account.{line}.password"), 0).filter(|p| !p.is_empty()).cloned(),
        username,
        host,
    })
}

/// What else the configuration gave. The administrator guards the web page and the advanced menu alike.
pub(super) fn given(settings: &Settings) -> Given {
    let named = ["static.security.user_name.admin", "security.user_name.admin"];
    let admin = named.iter().find_map(|name| settings.text(name, 0)).unwrap_or("admin");
    let password = PASSWORDS.iter().any(|name| {
        let value = settings.text(&format!("{name}:{admin}"), 0).and_then(|value| value.split_once(':'));
        value.is_some_and(|(_, password)| !password.is_empty())
    });
    let is_key = |name: &str| {
        let key =
            ["linekey.", "programablekey.", "expansion_module."].iter().any(|group| name.starts_with(group));
        key && ending(name) == Some("type")
    };
    let used = |name: &str| settings.text(name, 0).is_some_and(|kind| kind != "0" && kind != "N/A");
    Given {
        web_password: password,
        menu_password: password || settings.has("phone_setting.phone_lock.unlock_pin", 0),
        keys: settings.names().filter(|(name, _)| is_key(name) && used(name)).count(),
        language: settings
            .text("lang.gui", 0)
            .or_else(|| settings.text("static.lang.gui", 0))
            .map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "#!version:1.0.0.1\n# a comment\n\naccount.1.enable = 1\naccount.1.user_name=101\n\
        account.1.auth_name = a101\naccount.1.password = s3=cr et\naccount.1.sip_server.1.address = pbx.example\n\
        account.1.sip_server.1.port = 5070\naccount.1.sip_server.1.transport_type = 1\naccount.2.enable = 0\n\
        account.2.user_name = 102\naccount.2.sip_server.1.address = pbx.example\nlinekey.1.type = 15\nlinekey.2.type = 0\n\
        static.security.user_password = user:u1\nstatic.security.user_password = admin:a1\nlang.gui = German\n";

    fn read(text: &str) -> Settings {
        let mut settings = Settings::default();
        read_lines(text.as_bytes()).apply(&mut settings);
        settings
    }

    #[test]
    fn lines_become_an_account() {
        let settings = read(FILE);
        let accounts = accounts(&settings);
        let [account] = accounts.as_slice() else { panic!("{accounts:?}") };
        assert_eq!(account.for_people(), "line 1: 101 at pbx.example:5070 (tcp), password given");
        assert_eq!(
            (account.auth_id.as_str(), account.password.as_ref().unwrap().expose()),
            ("a101", "s3=cr et")
        );
        let expected =
            Given { web_password: true, menu_password: true, keys: 1, language: Some("German".to_owned()) };
        assert_eq!(given(&settings), expected);
    }

    #[test]
    fn a_file_without_its_version_is_ignored() {
        for text in
            ["", "account.1.enable = 1\n#!version:1.0.0.1\n", "\n#!version:1.0.0.1\naccount.1.enable = 1\n"]
        {
            let lines = read_lines(text.as_bytes());
            assert!(!lines.is_configuration && lines.values.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn a_boot_file_names_its_files() {
        let boot = "#!version:1.0.0.1\ninclude:config <a.cfg>\ninclude:config \"http://h/b.cfg\"\noverwrite_mode = 1\n";
        let lines = read_lines(boot.as_bytes());
        assert_eq!(lines.includes, ["a.cfg", "http://h/b.cfg"]);
        assert!(lines.overwrite);
    }

    #[test]
    fn a_later_file_keeps_what_it_does_not_name() {
        let mut settings = read(FILE);
        read_lines(b"#!version:1.0.0.1\naccount.1.user_name = 109\nlang.gui = %NULL%\n").apply(&mut settings);
        assert_eq!(accounts(&settings)[0].username, "109");
        assert!(accounts(&settings)[0].password.is_some());
        assert_eq!(given(&settings).language, None);
    }

    #[test]
    fn an_emptied_password_is_remarked() {
        let lines = read_lines(b"#!version:1.0.0.1\naccount.1.password =\nnonsense\n = 3\n");
        assert_eq!(
            lines.remarks,
            ["line 2 empties a password", "line 3 is not 'key = value'", "line 4 has no key"]
        );
    }
}
