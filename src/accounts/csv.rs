//! Reads accounts and function keys from CSV as people and spreadsheets write it: columns by their header in any order,
//! comma, semicolon or tab, quotes, CRLF and a byte order mark. A file may hold both tables, one after the other.

use std::collections::HashMap;
use std::str::FromStr;

use crate::device::{Group, Key, KeyKind, Mac, Vendor};
use crate::secret::Secret;
use crate::store::{AccountRow, DeviceRow, Field, KeyRow, Owner, RowPlace as Place, Sheet};

/// A file of 100,000 phones is a tenth of this.
pub(super) const FILE_BYTES_MAX: usize = 64 << 20;
/// No phone shows, dials or types more.
const VALUE_CHARS_MAX: usize = 255;
/// URLs of function keys are longer than names.
const KEY_VALUE_CHARS_MAX: usize = 1_024;
/// The largest desk phones have 16 to 48 lines.
const LINE_MAX: u16 = 100;
/// With three expansion modules of 100 keys, and room.
const KEY_MAX: u16 = 1_000;

const ACCOUNT_COLUMNS: [&str; 16] = [
    "mac",
    "vendor",
    "model",
    "line",
    "username",
    "auth_id",
    "password",
    "display_name",
    "registrar",
    "label",
    "gigaset_id",
    "transport",
    "outbound_proxy",
    "srtp",
    "web_password",
    "menu_password",
];
const KEY_COLUMNS: [&str; 8] = ["mac", "vendor", "model", "key", "kind", "value", "label", "line"];
/// Their spaces count.
const PASSWORD_COLUMNS: [&str; 3] = ["password", "web_password", "menu_password"];

/// Which table a header begins, with the place of each column.
#[derive(Debug)]
struct Header {
    keys: bool,
    columns: HashMap<&'static str, usize>,
    cells: usize,
}

/// Reads a file into the sheet.
pub fn read(file: &str, bytes: &[u8], sheet: &mut Sheet) {
    let start = |line| Place { file: file.to_owned(), line };
    if bytes.len() > FILE_BYTES_MAX {
        return sheet.problem(start(1), format!("the file has more than {FILE_BYTES_MAX} bytes"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().fold(0, |lines, byte| lines + u64::from(*byte == b'\n'));
            let reason = "the file is not UTF-8; in the spreadsheet, save it as \"CSV UTF-8\"";
            return sheet.problem(start(line), reason);
        }
    };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let mut header: Option<Header> = None;
    let mut record = csv::StringRecord::new();
    loop {
        // The reader is at the end of the record before; empty lines between are the record's own to count.
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(_) => {
                return sheet.problem(start(reader.position().line()), "the line cannot be read as CSV");
            }
        }
        let place = start(record.position().map_or(0, csv::Position::line));
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if let Some(found) = Header::find(&record, header.is_none()) {
            header = Some(found.announce(&record, file, sheet));
            continue;
        }
        let Some(header) = &header else {
            let reason = "no header: the first line names the columns, like mac,username,password or mac,key,kind,value,label";
            return sheet.problem(place, reason);
        };
        take(header, &record, place, sheet);
    }
}

/// The character that the first line has most of; a German spreadsheet writes semicolons.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    let count = |delimiter: &u8| first.bytes().filter(|byte| byte == delimiter).count();
    // `max_by_key` takes the last of equals: a line without any has a comma.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

impl Header {
    /// Whether these cells are a header, and of which table. Below the first header a single word is not enough: an
    /// account may be called `mac`, and its row must be neither lost nor told as columns.
    fn find(record: &csv::StringRecord, first: bool) -> Option<Self> {
        let names: Vec<String> = record.iter().map(normal).collect();
        let has = |name: &str| names.iter().any(|cell| cell == name);
        let keys = has("key") && has("kind");
        let accounts = if first {
            has("username") || has("mac")
        } else {
            has("username") && (has("mac") || has("password"))
        };
        if !keys && !accounts {
            return None;
        }
        let known: &[&'static str] = if keys { &KEY_COLUMNS } else { &ACCOUNT_COLUMNS };
        let place =
            |name: &&'static str| names.iter().position(|cell| cell == name).map(|place| (*name, place));
        Some(Self { keys, columns: known.iter().filter_map(place).collect(), cells: names.len() })
    }

    /// Tells of columns that are not used, or that stand there twice.
    fn announce(self, record: &csv::StringRecord, file: &str, sheet: &mut Sheet) -> Self {
        if self.keys {
            sheet.begin_keys();
        }
        let unused = record.iter().enumerate().filter(|(place, cell)| {
            !cell.trim().is_empty() && !self.columns.values().any(|column| column == place)
        });
        let unused: Vec<&str> = unused.map(|(_, cell)| cell.trim()).collect();
        if !unused.is_empty() {
            sheet.note(format!("{file}: columns not used: {}", unused.join(", ")));
        }
        self
    }
}

/// A header cell as a column's name: `Display Name` is `display_name`.
fn normal(cell: &str) -> String {
    cell.trim().to_lowercase().replace([' ', '-'], "_")
}

fn take(header: &Header, record: &csv::StringRecord, place: Place, sheet: &mut Sheet) {
    let surplus = record.iter().skip(header.cells).any(|cell| !cell.is_empty());
    if surplus {
        let reason = format!(
            "more cells than the header's {}; a value with a delimiter in it stands in quotes",
            header.cells
        );
        return sheet.problem(place, reason);
    }
    let row = Row { header, record };
    if header.keys {
        match row.key(&place) {
            Ok(key) => sheet.add_key(key),
            Err(reason) => sheet.problem(place, reason),
        }
        return;
    }
    match row
        .device()
        .and_then(|device| Ok((row.account(&place, device.as_ref().map(|(mac, _)| *mac))?, device)))
    {
        Ok((account, device)) => sheet.add(place, device, account),
        Err(reason) => sheet.problem(place, reason),
    }
}

struct Row<'a> {
    header: &'a Header,
    record: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    /// A cell, without the spaces around it unless it is a password's; control characters are refused everywhere: in a
    /// phone's file they would begin a setting of their own.
    fn cell(&self, column: &str, chars_max: usize) -> Result<Field<&'a str>, String> {
        let Some(place) = self.header.columns.get(column) else { return Ok(Field::Absent) };
        let cell = self.record.get(*place).unwrap_or("");
        let cell = if PASSWORD_COLUMNS.contains(&column) { cell } else { cell.trim() };
        if cell.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(format!("{column}: a control character or line break is not allowed"));
        }
        if cell.chars().count() > chars_max {
            return Err(format!("{column}: more than {chars_max} characters"));
        }
        Ok(if cell.is_empty() { Field::Empty } else { Field::Value(cell) })
    }

    fn text(&self, column: &str) -> Result<Field<String>, String> {
        Ok(match self.cell(column, VALUE_CHARS_MAX)? {
            Field::Absent => Field::Absent,
            Field::Empty => Field::Empty,
            Field::Value(text) => Field::Value(text.to_owned()),
        })
    }

    fn parsed<T: FromStr>(&self, column: &str, expected: &str) -> Result<Field<T>, String> {
        Ok(match self.cell(column, VALUE_CHARS_MAX)? {
            Field::Absent => Field::Absent,
            Field::Empty => Field::Empty,
            Field::Value(text) => {
                Field::Value(text.parse().map_err(|_| format!("{column}: expected {expected}"))?)
            }
        })
    }

    /// A name without spaces: a user name, or a host with or without a port.
    fn word(&self, column: &str) -> Result<Field<String>, String> {
        let text = self.text(column)?;
        if text.value().is_some_and(|text| text.contains(char::is_whitespace)) {
            return Err(format!("{column}: spaces are not allowed"));
        }
        Ok(text)
    }

    fn host(&self, column: &str) -> Result<Field<String>, String> {
        let text = self.word(column)?;
        if text.value().is_some_and(|text| !is_host(text)) {
            return Err(format!("{column}: expected HOST or HOST:PORT"));
        }
        Ok(text)
    }

    fn secret(&self, column: &str) -> Result<Option<Secret>, String> {
        Ok(self.cell(column, VALUE_CHARS_MAX)?.value().map(|text| Secret::new(*text)))
    }

    fn number(&self, column: &str, max: u16) -> Result<Option<u16>, String> {
        let number: Field<u16> = self.parsed(column, &format!("a number from 1 to {max}"))?;
        match number.value() {
            Some(number) if !(1..=max).contains(number) => {
                Err(format!("{column}: expected a number from 1 to {max}"))
            }
            number => Ok(number.copied()),
        }
    }

    fn mac(&self) -> Result<Option<Mac>, String> {
        let expected =
            "twelve hexadecimal digits of a phone's address, with ':', '-', '.' or nothing between them";
        Ok(self.parsed::<Mac>("mac", expected)?.value().copied())
    }

    fn device(&self) -> Result<Option<(Mac, DeviceRow)>, String> {
        let vendor = self.word("vendor")?.value().map(|name| Vendor::new(name));
        let model = self.text("model")?.value().map(|model| bare_model(vendor.as_ref(), model));
        let row = DeviceRow {
            model,
            vendor,
            gigaset_id: self.gigaset_id()?,
            web_password: self.secret("web_password")?,
            menu_password: self.secret("menu_password")?,
        };
        let Some(mac) = self.mac()? else {
            let own = row.web_password.is_some() || row.menu_password.is_some() || row.gigaset_id.is_some();
            return if own {
                Err("mac: empty, but the row has values of a device".to_owned())
            } else {
                Ok(None)
            };
        };
        Ok(Some((mac, row)))
    }

    fn gigaset_id(&self) -> Result<Option<String>, String> {
        let Some(id) = self.word("gigaset_id")?.value().cloned() else { return Ok(None) };
        if id.chars().count() == 4 && id.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Ok(Some(id.to_ascii_uppercase()));
        }
        Err("gigaset_id: expected the four letters and digits on the phone's label".to_owned())
    }

    /// The row's account; `None` for a row that names a device only.
    fn account(&self, place: &Place, mac: Option<Mac>) -> Result<Option<AccountRow>, String> {
        let line = self.number("line", LINE_MAX)?;
        let password = self.secret("password")?;
        let Some(username) = self.word("username")?.value().cloned() else {
            return match mac {
                Some(_) if password.is_none() => Ok(None),
                Some(_) => Err("username: empty, but there is a password".to_owned()),
                None => Err("username and mac: both empty".to_owned()),
            };
        };
        if mac.is_none() && line.is_some_and(|line| line != 1) {
            return Err("line: an account of the pool has no line yet".to_owned());
        }
        Ok(Some(AccountRow {
            place: place.clone(),
            on: mac.map(|mac| (mac, line.unwrap_or(1))),
            username,
            auth_id: self.word("auth_id")?,
            password,
            display_name: self.text("display_name")?,
            label: self.text("label")?,
            registrar: self.host("registrar")?,
            transport: self.parsed("transport", "udp, tcp or tls")?,
            outbound_proxy: self.host("outbound_proxy")?,
            srtp: self.parsed("srtp", "off, optional or mandatory")?,
        }))
    }

    fn key(&self, place: &Place) -> Result<KeyRow, String> {
        let number = self.number("key", KEY_MAX)?.ok_or("key: empty")?;
        let kinds = KeyKind::ALL.map(KeyKind::as_str).join(", ");
        let kind = self.parsed::<KeyKind>("kind", &format!("one of {kinds}"))?;
        let kind = *kind.value().ok_or("kind: empty")?;
        let value = self.cell("value", KEY_VALUE_CHARS_MAX)?.value().map(|value| (*value).to_owned());
        let label = self.text("label")?.value().cloned().unwrap_or_default();
        let line = self.number("line", LINE_MAX)?;
        let key = Key { number, kind, value: value.unwrap_or_default(), label, line };
        if let Some(lack) = key.lacks() {
            return Err(format!("value: empty, and {lack}"));
        }
        Ok(KeyRow { place: place.clone(), owner: self.owner()?, key })
    }

    /// A row without a MAC belongs to the plan of the model, of the vendor, or of the site.
    fn owner(&self) -> Result<Owner, String> {
        if let Some(mac) = self.mac()? {
            return Ok(Owner::Device(mac));
        }
        let vendor = self.word("vendor")?.value().map(|name| Vendor::new(name));
        let model = self.text("model")?.value().map(|model| bare_model(vendor.as_ref(), model));
        match (vendor, model) {
            (None, None) => Ok(Owner::Group(Group::Site)),
            (Some(vendor), None) => Ok(Owner::Group(Group::Vendor(vendor))),
            (Some(vendor), Some(model)) => Ok(Owner::Group(Group::Model(vendor, model))),
            (None, Some(_)) => Err("model: there is no vendor to it".to_owned()),
        }
    }
}

/// `HOST`, `HOST:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
pub fn is_host(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port;
    }
    let (host, port) = text.split_once(':').map_or((text, true), |(host, port)| (host, is_port(port)));
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    port && !host.is_empty() && host.chars().all(plain)
}

/// The model without the vendor before it: `snom D785` and `snomD785` are `D785`.
fn bare_model(vendor: Option<&Vendor>, model: &str) -> String {
    let rest = vendor.and_then(|vendor| {
        let (head, rest) = model.split_at_checked(vendor.as_str().len())?;
        head.eq_ignore_ascii_case(vendor.as_str()).then(|| rest.trim_start_matches([' ', '-', '_']))
    });
    rest.filter(|rest| !rest.is_empty()).unwrap_or(model).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet(text: &str) -> Sheet {
        let mut sheet = Sheet::default();
        read("a.csv", text.as_bytes(), &mut sheet);
        sheet
    }

    fn problem(text: &str) -> String {
        let sheet = sheet(text);
        let problems: Vec<String> =
            sheet.problems().iter().map(|problem| format!("{}: {}", problem.place, problem.reason)).collect();
        problems.join("; ")
    }

    fn check_problem(text: &str, expected: &str) {
        let problem = problem(text);
        assert!(problem.starts_with(expected), "{text:?} gives {problem:?}");
        assert!(!problem.contains("geheim"), "{problem}");
    }

    #[test]
    fn a_table_is_read_in_every_usual_dress() {
        let rows = [
            "mac,username,password\n001565f4f9e1,101,geheim\n",
            "\u{feff}mac;username;password\r\n00:15:65:F4:F9:E1;101;geheim\r\n",
            "Username\tMAC\tPassword\n101\t0015.65f4.f9e1\tgeheim",
            "\"password\",\"mac\",\"username\"\n\n\"geheim\",\"00-15-65-f4-f9-e1\",\"101\"\n",
        ];
        for text in rows {
            let sheet = sheet(text);
            assert_eq!(sheet.problems(), [], "{text:?}");
            let row = &sheet.accounts()[0];
            assert_eq!(row.on, Some(("001565f4f9e1".parse().unwrap(), 1)), "{text:?}");
            assert_eq!((row.username.as_str(), row.auth_id.clone()), ("101", Field::Absent), "{text:?}");
            assert_eq!(row.password.as_ref().unwrap().expose(), "geheim", "{text:?}");
        }
    }

    #[test]
    fn quotes_keep_delimiters_and_spaces_of_a_password() {
        let sheet = sheet("username,password,display_name\n101,\" a,\"\"b\",\" Ada \"\n");
        let row = &sheet.accounts()[0];
        assert_eq!(row.password.as_ref().unwrap().expose(), " a,\"b");
        assert_eq!(row.display_name, Field::Value("Ada".to_owned()));
        assert_eq!(row.on, None, "a row without mac is the pool's");
    }

    #[test]
    fn an_account_that_is_called_like_a_column_is_a_row() {
        let sheet = sheet("mac,username,password\n001565f4f9e1,mac,geheim\n001565f4f9e2,username,geheim\n");
        assert_eq!((sheet.problems(), sheet.notes()), (&[][..], &[][..]));
        let names: Vec<&str> = sheet.accounts().iter().map(|row| row.username.as_str()).collect();
        assert_eq!(names, ["mac", "username"]);
    }

    #[test]
    fn a_bad_row_names_its_line_and_never_its_values() {
        let head = "mac,line,username,password,transport,registrar\n";
        let check = |row: &str, expected: &str| {
            check_problem(&format!("{head}001565f4f9e1,1,101,geheim,,\n{row}\n"), expected);
        };
        check("geheim,1,102,x,,", "a.csv:3: mac: expected twelve");
        check("01005e000001,1,102,x,,", "a.csv:3: mac: expected twelve");
        check("001565f4f9e2,0,102,x,,", "a.csv:3: line: expected a number from 1 to 100");
        check("001565f4f9e2,geheim,102,x,,", "a.csv:3: line: expected a number");
        check("001565f4f9e2,1,102,x,geheim,", "a.csv:3: transport: expected udp, tcp or tls");
        check("001565f4f9e2,1,102,x,,sip:geheim", "a.csv:3: ");
        check("001565f4f9e2,1,1 02,x,,", "a.csv:3: username: spaces");
        check("001565f4f9e2,1,,geheim,,", "a.csv:3: username: empty, but there is a password");
        check(",,,,udp,", "a.csv:3: username and mac: both empty");
        check("001565f4f9e2,1,102,x,,,geheim", "a.csv:3: more cells than the header's 6");
        check("001565f4f9e1,1,102,x,,", "a.csv:3: line 1 of 00:15:65:f4:f9:e1 is in a.csv:2 already");
        check("001565f4f9e2,1,101,x,,", "a.csv:3: account '101' is in a.csv:2 already");
        check(",1,101,x,,", "a.csv:3: account '101' is in a.csv:2 already");
        check("001565f4f9e2,1,102,\"geheim\nx\",,", "a.csv:3: password: a control character");
        check("001565f4f9e2,1,102,ge\u{7}heim,,", "a.csv:3: password: a control character");
        check("001565f4f9e2,1,102,geheim\u{2028}x,,", "a.csv:3: password: a control character");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        check_problem("geheim,101\n", "a.csv:1: no header");
        let mut sheet = Sheet::default();
        read("a.csv", b"mac,username\n001565f4f9e1,J\xfcrgen\n", &mut sheet);
        assert!(sheet.problems()[0].reason.contains("CSV UTF-8"));
        assert_eq!(sheet.problems()[0].place.line, 2);
    }

    #[test]
    fn rows_of_one_device_agree_about_it() {
        let two = |second: &str| {
            format!("mac,model,line,username\n001565f4f9e1,T46U,1,101\n001565f4f9e1,{second},2,102\n")
        };
        assert_eq!(problem(&two("")), "");
        assert_eq!(problem(&two("T46U")), "");
        check_problem(&two("T48U"), "a.csv:3: model of 00:15:65:f4:f9:e1 is another one");
    }

    #[test]
    fn columns_that_are_not_used_are_told() {
        let sheet = sheet("mac,Building,username\n001565f4f9e1,B,101\n");
        assert_eq!(sheet.notes(), ["a.csv: columns not used: Building"]);
        assert_eq!(sheet.problems(), []);
    }

    #[test]
    fn function_keys_are_known_by_their_header() {
        let both =
            sheet("mac,username\n001565f4f9e1,101\n\nmac,key,kind,value,label\n001565f4f9e1,2,blf,102,Bea\n");
        assert_eq!((both.accounts().len(), both.keys().len(), both.problems().len()), (1, 1, 0));
        assert!(both.has_keys());
        let key = &both.keys()[0].key;
        assert_eq!(
            (key.number, key.kind, key.value.as_str(), key.label.as_str()),
            (2, KeyKind::Blf, "102", "Bea")
        );
        let head = "mac,key,kind,value\n";
        check_problem(&format!("{head}001565f4f9e1,1,blf,\n"), "a.csv:2: value: empty");
        check_problem(&format!("{head}001565f4f9e1,1,geheim,\n"), "a.csv:2: kind: expected one of line");
        check_problem(&format!("{head}001565f4f9e1,1,dnd,\n001565f4f9e1,1,dnd,\n"), "a.csv:3: key 1 of");
    }

    #[test]
    fn a_registrar_is_a_host_with_or_without_a_port() {
        for good in ["pbx", "pbx.lan:5060", "192.168.1.2", "[fd00::1]", "[fd00::1]:5061"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "sip:pbx", "pbx:0", "pbx:99999", "pbx/x", "fd00::1", "[fd00::1", "[x]:1", ":5060"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn a_model_is_written_without_its_vendor() {
        for (vendor, model, expected) in [
            ("snom", "snom D785", "D785"),
            ("Snom", "snomD785", "D785"),
            ("snom", "D785", "D785"),
            ("snom", "snom", "snom"),
            ("yealink", "T46U", "T46U"),
            ("snom", "é", "é"),
        ] {
            assert_eq!(bare_model(Some(&Vendor::new(vendor)), model), expected, "{vendor} {model}");
        }
    }

    #[test]
    fn debug_of_a_sheet_shows_no_password() {
        let sheet = sheet(
            "mac,username,password,web_password,menu_password\n001565f4f9e1,101,geheim,geheim2,geheim3\n",
        );
        assert_eq!(sheet.problems(), []);
        assert!(!format!("{sheet:?}").contains("geheim"));
    }
}
