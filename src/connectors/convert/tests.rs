//! Tests of number conversion in all spellings, and of JSON strings.

use super::*;

fn float(text: &str) -> (Option<f64>, bool) {
    let Converted { cell, fits } = number(ColumnKind::Number, TimestampEncoding::Text, text);
    (
        if let Cell::Number(value) = cell {
            Some(value)
        } else {
            None
        },
        fits,
    )
}

fn integer(text: &str) -> (Option<i64>, bool) {
    let Converted { cell, fits } = number(ColumnKind::Integer, TimestampEncoding::Text, text);
    (
        if let Cell::Integer(value) = cell {
            Some(value)
        } else {
            None
        },
        fits,
    )
}

/// A deterministic random number generator, so that each test run uses the same numbers.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// A random decimal: sign, digits (neither the first nor the last is zero) and the exponent of the
/// last digit.
fn random_decimal(random: &mut Random) -> (bool, String, i64) {
    let count = 1 + random.below(17) as usize;
    let digits: String = (0..count)
        .map(|at| {
            char::from(
                b'0' + if at == 0 || at + 1 == count {
                    1 + random.below(9)
                } else {
                    random.below(10)
                } as u8,
            )
        })
        .collect();
    // Mostly numbers of everyday size, sometimes up to the range of normal floats.
    let power = if random.below(4) == 0 {
        random.below(560) as i64 - 300
    } else {
        random.below(30) as i64 - 20
    };
    (random.below(3) == 0, digits, power)
}

/// The same number written without an exponent, if that is not too long.
fn positional(digits: &str, power: i64, trailing: usize) -> Option<String> {
    let text = match usize::try_from(power.unsigned_abs()).ok()? {
        far if far > 40 => return None,
        zeros if power >= 0 && trailing == 0 => format!("{digits}{}", "0".repeat(zeros)),
        zeros if power >= 0 => format!("{digits}{}.{}", "0".repeat(zeros), "0".repeat(trailing)),
        places if places < digits.len() => format!(
            "{}.{}{}",
            &digits[..digits.len() - places],
            &digits[digits.len() - places..],
            "0".repeat(trailing)
        ),
        places => format!(
            "0.{}{digits}{}",
            "0".repeat(places - digits.len()),
            "0".repeat(trailing)
        ),
    };
    Some(text)
}

#[test]
fn a_hundred_thousand_decimals_of_up_to_17_digits_fit_in_every_spelling() {
    let mut random = Random(17);
    for _ in 0..100_000 {
        let (negative, digits, power) = random_decimal(&mut random);
        let sign = if negative { "-" } else { "" };
        let trailing = random.below(4) as usize;
        let whole = i64::try_from(digits.len()).unwrap() + power - 1;
        let scientific = format!(
            "{}{}{}",
            &digits[..1],
            if digits.len() > 1 || trailing > 0 {
                "."
            } else {
                ""
            },
            &digits[1..]
        );
        let mut spellings = vec![
            format!("{digits}e{power}"),
            format!("{digits}E{power:+}"),
            format!("{digits}.{}e{power:+05}", "0".repeat(trailing + 1)),
            format!("{scientific}{}e{whole:03}", "0".repeat(trailing)),
            format!("0.{digits}e{}", whole + 1),
        ];
        spellings.extend(positional(&digits, power, 0));
        spellings.extend(positional(&digits, power, trailing + 1));
        let nearest: f64 = format!("{sign}{digits}e{power}").parse().unwrap();
        for spelling in spellings {
            let text = format!("{sign}{spelling}");
            assert_eq!(float(&text), (Some(nearest), true), "{text}");
        }
    }
}

#[test]
fn numbers_of_more_than_17_digits_fit_if_a_float_equals_them() {
    assert_eq!(
        float("0.6103094355280591"),
        (Some(0.610_309_435_528_059), true)
    );
    assert_eq!(float("0.10000000000000001"), (Some(0.1), true));
    for good in [
        "0",
        "-0.0",
        "1.50",
        "1e3",
        "5e-324",
        "4.9406564584124654e-324",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
    ] {
        assert_eq!(float(good), (Some(good.parse().unwrap()), true), "{good}");
    }
    // A decimal with up to 17 digits fits, also a whole number.
    assert_eq!(
        float("9007199254740993"),
        (Some(9_007_199_254_740_992.0), true)
    );
    let exact = "0.1000000000000000055511151231257827021181583404541015625";
    assert_eq!(float(exact), (Some(0.1), true));
    assert_eq!(
        float("9007199254740992.00000000000000000000"),
        (Some(9_007_199_254_740_992.0), true)
    );
    assert_eq!(float("10000000000000000000000"), (Some(1e22), true));
    for (bad, nearest) in [
        ("0.100000000000000005", 0.1),
        ("0.1000000000000000055511151231257827", 0.1),
        ("12345678901234567890", 12_345_678_901_234_567_000.0),
        ("-123456789012345678.5", -123_456_789_012_345_680.0),
        ("1e-400", 0.0),
        ("3e-324", 5e-324),
        ("1.2345678901e-320", 1.2345678901e-320),
        (&format!("0.1{}1", "0".repeat(2_000)), 0.1),
    ] {
        assert_eq!(float(bad), (Some(nearest), false), "{bad}");
    }
    for out in [
        "1e999",
        "-1e309",
        "1e99999999999999999999",
        &format!("1{}", "0".repeat(400)),
    ] {
        assert_eq!(float(out), (None, false), "{out}");
    }
    assert_eq!(float("1e-99999999999999999999"), (Some(0.0), false));
    assert_eq!(float("0e99999999999999999999"), (Some(0.0), true));
}

#[test]
fn whole_numbers_keep_every_digit_and_others_are_rounded() {
    for (text, is) in [
        ("9007199254740993", (Some(9_007_199_254_740_993), true)),
        ("9223372036854775807", (Some(i64::MAX), true)),
        ("-9223372036854775808", (Some(i64::MIN), true)),
        ("9223372036854775808", (None, false)),
        ("123e2", (Some(12_300), true)),
        ("1230.00", (Some(1_230), true)),
        ("12300e-2", (Some(123), true)),
        ("0.5", (Some(1), false)),
        ("-0.5", (Some(-1), false)),
        ("0.05", (Some(0), false)),
        ("5.4999999999999999999", (Some(5), false)),
        ("1e19", (None, false)),
        ("1e999", (None, false)),
        ("0e999", (Some(0), true)),
        ("1e-999", (Some(0), false)),
    ] {
        assert_eq!(integer(text), is, "{text}");
    }
}

#[test]
fn a_key_has_one_text_for_each_number() {
    let key = |text: &'static str| Decimal::read(text).unwrap().key();
    for (text, is) in [
        ("70000", "70000"),
        ("7e4", "70000"),
        ("70000.0", "70000"),
        ("-7", "-7"),
        ("-0", "0"),
        ("1.50", "1.50"),
        ("1e999", "1e999"),
    ] {
        assert_eq!(key(text), is, "{text}");
    }
    assert_eq!(key("12345678901234567890123"), "12345678901234567890123");
}

#[test]
fn what_is_no_number_is_none() {
    for text in [
        "", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", "--1", "1_000", "0x10", "inf", "NaN", "1 2",
        "１",
    ] {
        assert!(Decimal::read(text).is_none(), "{text}");
    }
    for (text, plain) in [
        ("1.", false),
        (".5", false),
        ("+5", false),
        ("007", false),
        ("0", true),
        ("0.7", true),
        ("-10", true),
    ] {
        assert_eq!(Decimal::read(text).unwrap().plain, plain, "{text}");
    }
}

#[test]
fn half_of_a_surrogate_pair_is_one_replacement_character() {
    for (json, text, whole) in [
        (r#""plain""#, "plain", true),
        (r#""é\n\ud83d\ude00""#, "é\n😀", true),
        (r#""cut \ud83d""#, "cut \u{fffd}", false),
        (r#""\ude00 low""#, "\u{fffd} low", false),
        (
            r#""\ud83d\ud83d\ude00\ud83dx""#,
            "\u{fffd}😀\u{fffd}x",
            false,
        ),
        (r#""\ud83d\u0041""#, "\u{fffd}A", false),
        ("\"already \u{fffd}\"", "already \u{fffd}", true),
    ] {
        assert_eq!(decoded(json), Some((Cow::Borrowed(text), whole)), "{json}");
    }
    assert_eq!(decoded("7"), None);
}
