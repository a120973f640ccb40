//! The short lists of the world: configuration that hardly changes.

use super::people::TAGS;

/// A canned response.
pub struct Canned {
    pub id: u64,
    pub group: u32,
    pub text: &'static str,
    /// It was changed after it was created.
    pub changed: bool,
    pub tags: &'static [&'static str],
}

pub const CANNED: [Canned; 14] = [
    canned(
        101,
        0,
        "Hello, how may I help you?",
        false,
        &["hi", "hello"],
    ),
    canned(
        102,
        0,
        "Thanks for your patience!\nI am looking into it.",
        true,
        &["wait"],
    ),
    canned(103, 0, "=1+1 is what your sheet shows, right?", true, &[]),
    canned(
        104,
        1,
        "That costs \"1.299,00\", tax included.",
        false,
        &["price"],
    ),
    canned(
        105,
        1,
        "Would you like to see our offers?",
        true,
        &["offer", "spring, 2026"],
    ),
    canned(201, 2, "Hei! Hva kan jeg hjelpe deg med?", false, &["hei"]),
    canned(
        202,
        2,
        "Pakken er på vei; den kommer i morgen.",
        false,
        &["pakke"],
    ),
    canned(203, 2, "Beklager ventetiden 🙏", true, &[]),
    canned(
        301,
        3,
        "お問い合わせありがとうございます。",
        false,
        &["ありがとう"],
    ),
    canned(302, 3, "少々お待ちください。", true, &["待"]),
    canned(401, 4, "مرحباً، كيف يمكنني مساعدتك؟", false, &["مرحبا"]),
    canned(701, 7, "Your refund is on its way.", false, &["refund"]),
    canned(702, 7, "<b>IBAN</b>: NO93 8601 1117 947", true, &["iban"]),
    canned(
        9_007_199_254_740_993,
        7,
        "An id that no double can tell.",
        false,
        &[],
    ),
];

const fn canned(
    id: u64,
    group: u32,
    text: &'static str,
    changed: bool,
    tags: &'static [&'static str],
) -> Canned {
    Canned {
        id,
        group,
        text,
        changed,
        tags,
    }
}

/// A goal; its other fields depend on its type.
pub struct Goal {
    pub id: u32,
    pub name: &'static str,
    pub active: u8,
    /// `custom_variable`, `url`, `api` or `sales_tracker`.
    pub kind: &'static str,
}

pub const GOALS: [Goal; 5] = [
    Goal {
        id: 1041,
        name: "Bought something",
        active: 1,
        kind: "sales_tracker",
    },
    Goal {
        id: 1043,
        name: "Read the guide",
        active: 1,
        kind: "url",
    },
    Goal {
        id: 1050,
        name: "VIP, \"gold\"",
        active: 1,
        kind: "custom_variable",
    },
    Goal {
        id: 1051,
        name: "Signed in 🎉",
        active: 0,
        kind: "api",
    },
    Goal {
        id: 1052,
        name: "",
        active: 0,
        kind: "url",
    },
];

pub struct Greeting {
    pub id: u32,
    pub group: u32,
    pub active: bool,
    pub name: &'static str,
    pub text: &'static str,
    pub rules: u32,
}

pub const GREETINGS: [Greeting; 5] = [
    Greeting {
        id: 11,
        group: 0,
        active: true,
        name: "Second visit",
        text: "Welcome back!",
        rules: 1,
    },
    Greeting {
        id: 12,
        group: 1,
        active: true,
        name: "Long at the checkout",
        text: "Is there anything, \"anything\" unclear?",
        rules: 2,
    },
    Greeting {
        id: 13,
        group: 2,
        active: true,
        name: "Hjelpesiden",
        text: "Fant du det du lette etter?",
        rules: 3,
    },
    Greeting {
        id: 14,
        group: 2,
        active: false,
        name: "=Old",
        text: "",
        rules: 0,
    },
    Greeting {
        id: 15,
        group: 7,
        active: false,
        name: "Unpaid invoice",
        text: "Line one\nline two",
        rules: 1,
    },
];

/// The group of tag number `at` in `TAGS`.
pub fn group_of_tag(at: usize) -> u32 {
    if at < TAGS.len() / 2 { 0 } else { 2 }
}
