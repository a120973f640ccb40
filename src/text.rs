//! Validates characters in the names of objects and people.

/// Whether a character is invisible or changes the order of its neighbours, so that a name with it
/// looks like another one: control characters, direction marks, zero-width characters, soft
/// hyphens, fillers and tags. The two joiners that some scripts and emoji need are not included;
/// see `is_joiner`.
pub fn is_deceptive(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Zero-width joiner and non-joiner: they belong to the spelling of some scripts and emoji.
pub fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

/// Whether the name of an object may contain this character.
pub fn is_allowed_in_name(c: char) -> bool {
    !c.is_control() && !is_deceptive(c)
}

/// Whether the name of a person may contain this character. Stricter, because people are identified
/// by their names.
pub fn is_allowed_in_person_name(c: char) -> bool {
    is_allowed_in_name(c) && !is_joiner(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_a_name_is_refused_and_letters_of_all_scripts_are_not() {
        for bad in [
            "Ada\u{200b} Admin",
            "Ada\u{202e}nimdA",
            "\u{2066}Ada",
            "A\u{ad}da",
            "Ada\n",
            "Ada\u{e0041}",
            "\u{feff}Ada",
            "\u{3164}",
        ] {
            assert!(!bad.chars().all(is_allowed_in_name), "{bad:?}");
        }
        for good in [
            "Ada Admin",
            "Åse Ødegård",
            "Łukasz",
            "李小龍",
            "نگار",
            "Ελένη",
            "José d'Ávila-Ruiz",
            "👩",
        ] {
            assert!(good.chars().all(is_allowed_in_person_name), "{good}");
        }
        // Two emoji that are displayed as one; not allowed in the name of a person.
        let joined = "👩\u{200d}💻";
        assert!(
            joined.chars().all(is_allowed_in_name)
                && !joined.chars().all(is_allowed_in_person_name)
        );
    }
}
