//! Characters in names that people give to things and to themselves.

/// Whether a character is invisible or changes the order of those around it, so that a name with it looks like another one: controls, marks of
/// direction, zero-width characters, soft hyphens, fillers and tags. The two joiners that some scripts and emoji need are not among them;
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

/// Whether the name of a thing may hold this character.
pub fn is_good_in_name(c: char) -> bool {
    !c.is_control() && !is_deceptive(c)
}

/// Whether the name of a person may hold this character: they are told apart by it.
pub fn is_good_in_person(c: char) -> bool {
    is_good_in_name(c) && !is_joiner(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_or_turns_a_name_is_refused_and_letters_of_all_scripts_are_not() {
        for bad in ["Ada\u{200b} Admin", "Ada\u{202e}nimdA", "\u{2066}Ada", "A\u{ad}da", "Ada\n", "Ada\u{e0041}", "\u{feff}Ada", "\u{3164}"] {
            assert!(!bad.chars().all(is_good_in_name), "{bad:?}");
        }
        for good in ["Ada Admin", "Åse Ødegård", "Łukasz", "李小龍", "نگار", "Ελένη", "José d'Ávila-Ruiz", "👩"] {
            assert!(good.chars().all(is_good_in_person), "{good}");
        }
        // Two emoji that are shown as one; not in the name of a person.
        let joined = "👩\u{200d}💻";
        assert!(joined.chars().all(is_good_in_name) && !joined.chars().all(is_good_in_person));
    }
}
