//! Three small vendors for tests: one with lines of text, one with elements, and one that lives in the other's range.

use super::origin::VendorFiles;

/// A vendor's files from their names and texts.
pub(super) fn vendor(name: &str, files: &[(&str, &str)]) -> VendorFiles {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    VendorFiles { vendor: name.to_owned(), files }
}

/// All three.
pub(super) fn vendors() -> Vec<VendorFiles> {
    vec![lines(), elements(), inner()]
}

pub(super) fn lines() -> VendorFiles {
    vendor(
        "yealink",
        &[
            ("profile.toml", LINES_PROFILE),
            ("templates/device.cfg.j2", LINES_DEVICE),
            (
                "templates/common.cfg.j2",
                "#!version:1.0.0.1\nlocal_time.time_zone = {{ zone.offset_minutes }}\n",
            ),
        ],
    )
}

pub(super) fn elements() -> VendorFiles {
    vendor(
        "snom",
        &[
            ("profile.toml", ELEMENTS_PROFILE),
            ("templates/device.xml.j2", ELEMENTS_DEVICE),
            ("templates/macros.j2", ELEMENTS_MACROS),
        ],
    )
}

pub(super) fn inner() -> VendorFiles {
    vendor("gigaset", &[("profile.toml", INNER_PROFILE)])
}

const LINES_PROFILE: &str = r#"
schema = 1
display_name = "Yealink"
oui = ["001565", "249ad8", "805e0c", "805ec0"]
pnp = { url = "directory" }
retention = "keep"
reach = { pnp = true, option66 = true, redirect = "yealink-rps" }
manual = { where = "Settings > Auto Provision", value = "{base}" }

[[match]]
source = "http.user-agent"
pattern = '^Yealink (?:SIP[- ])?(?:VP-)?(?<model>\w+)\s+(?<firmware>[\d.]+)(?:\s+(?<mac>[\da-f:]{12,17}))?'
examples = [
    { text = "Yealink SIP-T46U 108.86.0.90 80:5e:c0:aa:bb:cc", model = "T46U", firmware = "108.86.0.90", mac = "805ec0aabbcc" },
    { text = "yealink SIP-T56A  58.80.0.25 001565f429a4", model = "T56A", mac = "001565f429a4" },
]
rejects = ["Fanvil X4 2.10.2.6887 0c383e07e16c"]

[[match]]
source = "sip.user-agent"
pattern = '^Yealink SIP-(?<model>\w+) (?<firmware>[\d.]+)'
examples = [{ text = "Yealink SIP-T21P 34.72.14.6", model = "T21P", firmware = "34.72.14.6" }]

[[file]]
path = "{mac}.cfg"
template = "device.cfg.j2"
format = "line"
secrets = ["sip", "menu", "webui", "prov"]

[[file]]
path = "{common}"
template = "common.cfg.j2"
format = "line"

[map.transport]
udp = 0
tcp = 1
tls = 2

[defaults]
contrast = 5
volume = 8

[models.T46U]
common = "y000000000108.cfg"
lines = 16
line_keys = 27
[models.T46U.settings]
contrast = 6

[models.T21P]
common = "y000000000034.cfg"
lines = 2
aliases = ["T21D"]

[models.T53]
common = "y000000000095.cfg"
[models.T53W]
common = "y000000000095.cfg"
"#;

const LINES_DEVICE: &str = "\
#!version:1.0.0.1
{% for line in lines %}
account.{{ line.number }}.label = {{ line.label }}
account.{{ line.number }}.sip_server.1.address = {{ line.registrar_host }}
account.{{ line.number }}.sip_server.1.transport_type = {{ line.transport | mapped('transport') }}
{{ secret_param('sip', line.number, 'account.' ~ line.number ~ '.password') }}
{% endfor %}
{% for key in keys %}
linekey.{{ key.number }}.value = {{ key.value }}
{% endfor %}
phone_setting.contrast = {{ settings.contrast }}
phone_setting.volume = {{ settings.volume }}
{{ secret_param('webui', 0, 'static.security.user_password') }}
{{ secret_param('menu', 0, 'phone_setting.phone_lock.unlock_pin') }}
{{ secret_param('prov', 0, 'static.auto_provision.server.url') }}
";

const ELEMENTS_PROFILE: &str = r#"
schema = 1
display_name = "Snom"
oui = ["000413"]
pnp = { url = "{base}snom{model}-{MAC}.htm" }

[[match]]
source = "http.user-agent"
pattern = 'snom(?<model>\w+)-SIP (?<firmware>[\d.]+)(?:.*\b(?<mac>[0-9A-F]{12})\b)?'
examples = [{ text = "Mozilla/4.0 (compatible; snomD785-SIP 10.1.33.33 2010.12-00004-g9ba52f5 000413922D24 SXM:0)", model = "D785", firmware = "10.1.33.33", mac = "000413922d24" }]

[[match]]
source = "sip.event"
pattern = 'vendor="OEM";model="OEM"'
confidence = 15
examples = [{ text = 'ua-profile;vendor="OEM";model="OEM";version="7.1.19"' }]

[[file]]
path = "snom{model}-{MAC}.htm"
template = "device.xml.j2"
format = "xml"
secrets = ["sip", "webui"]

[[file]]
path = "snom{model}.htm"
template = "device.xml.j2"
format = "xml"

[models.D785]
[models.720]
aliases = ["D720"]
"#;

const ELEMENTS_DEVICE: &str = "\
{% from 'macros.j2' import account with context %}
<?xml version=\"1.0\" encoding=\"utf-8\"?>
<settings>
  <phone-settings>
{% for line in lines %}
    {{ account(line) }}
{% endfor %}
  </phone-settings>
</settings>
";

const ELEMENTS_MACROS: &str = "\
{% macro account(line) %}
<user_realname idx=\"{{ line.number }}\">{{ line.display_name }}</user_realname>
    {{ secret_param('sip', line.number, 'user_pass', attributes='idx=\"' ~ line.number ~ '\"') }}
{%- endmacro %}
";

const INNER_PROFILE: &str = r#"
schema = 1
display_name = "Gigaset"
oui = ["000413e2", "000413800000-000413809fff"]

[[match]]
source = "http.user-agent"
pattern = '^(?:Gigaset )?(?<model>N\d+[A-Z -]*?)/(?<firmware>[^;]+)(?:;(?<mac>[0-9A-F]{12}))?'
examples = [{ text = "N510 IP PRO/42.245.00.000.000;7C2F804DF9A9", model = "N510 IP PRO", mac = "7c2f804df9a9" }]

[[match]]
source = "sip.event"
pattern = 'vendor="OEM";model="OEM"'
confidence = 15
examples = [{ text = 'ua-profile;vendor="OEM";model="OEM";version="7.1.19"' }]
"#;
