//! A task's default name, read from the type of its future.

/// The name of the async fn that made the future, the fn around an async block, or the name of a
/// hand-written future's type.
pub(crate) fn short(type_name: &'static str) -> &'static str {
    let mut name = type_name;
    for wrapper in ["core::pin::Pin<", "alloc::boxed::Box<"] {
        if let Some(inner) = name.strip_prefix(wrapper) {
            name = inner.strip_suffix('>').unwrap_or(inner);
        }
    }
    name = name.strip_prefix("dyn ").unwrap_or(name);
    while let Some(outer) = name.strip_suffix("::{{closure}}") {
        name = outer;
    }
    last_segment(without_generics(name))
}

/// Cuts `<..>` at the end, with the `::` that may stand before it.
fn without_generics(name: &'static str) -> &'static str {
    if !name.ends_with('>') {
        return name;
    }
    let mut depth = 0;
    for (at, byte) in name.bytes().enumerate().rev() {
        match byte {
            // The arrow of a function type closes nothing.
            b'>' if at > 0 && name.as_bytes()[at - 1] == b'-' => {}
            b'>' => depth += 1,
            b'<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            // `<T as Trait>` alone is not an argument list.
            let path = &name[..at];
            return if at == 0 { name } else { path.strip_suffix("::").unwrap_or(path) };
        }
    }
    name
}

fn last_segment(name: &'static str) -> &'static str {
    let mut depth = 0;
    for (at, byte) in name.bytes().enumerate().rev() {
        match byte {
            b'>' | b')' | b']' => depth += 1,
            b'<' | b'(' | b'[' => depth -= 1,
            b':' if depth == 0 => return &name[at + 1..],
            _ => {}
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn names_are_those_of_functions_and_types() {
        for (full, name) in [
            ("kitchen::cook::{{closure}}", "cook"),
            ("kitchen::main::{{closure}}::{{closure}}", "main"),
            ("core::pin::Pin<alloc::boxed::Box<kitchen::cook::{{closure}}>>", "cook"),
            (
                "core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future<Output = i32>>>",
                "Future",
            ),
            ("kitchen::cook<alloc::string::String>::{{closure}}", "cook"),
            ("<kitchen::Chef as kitchen::Cook>::cook::{{closure}}", "cook"),
            ("kitchen::Chef<T>::cook::{{closure}}", "cook"),
            ("boucle::time::sleep::Sleep", "Sleep"),
            ("boucle::gather::Gathering<alloc::vec::Vec<fn() -> u8>>", "Gathering"),
            ("<kitchen::Chef as kitchen::Cook>", "<kitchen::Chef as kitchen::Cook>"),
            ("dyn core::ops::Fn(kitchen::Meal)", "Fn(kitchen::Meal)"),
            ("cook", "cook"),
            (">", ">"),
            ("()", "()"),
        ] {
            assert_eq!(short(full), name, "{full}");
        }
    }
}
