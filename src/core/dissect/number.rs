//! Numbers as Python programs write them, so that files can be written back byte for byte.

/// How a file writes its fractions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// 17 significant digits without trailing zeros (`%.17g`): what NetDissect's own files have.
    #[default]
    Digits17,
    /// The shortest text that reads back as the same number: `repr` of Python 3.
    Shortest,
}

/// A fraction, always with a point or an exponent; exponents below -4 and from 16 on, as Python does.
pub fn fraction(value: f64, style: Style) -> String {
    let scientific = match style {
        Style::Digits17 => format!("{value:.16e}"),
        Style::Shortest => format!("{value:e}"),
    };
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |m| ("-", m));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    if !(-4..16).contains(&exponent) {
        let (head, tail) = digits.split_at(1);
        let point = if tail.is_empty() { "" } else { "." };
        let minus = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{head}{point}{tail}e{minus}{:02}", exponent.abs());
    }
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat((-exponent - 1) as usize));
    }
    let whole = exponent as usize + 1;
    let padded = format!("{digits:0<whole$}");
    let (head, tail) = padded.split_at(whole);
    format!("{sign}{head}.{}", if tail.is_empty() { "0" } else { tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_python_writes() {
        // Left: '%.17g' with '.0' where there is no point, right: repr, of CPython 3.11.
        for (value, long, short) in [
            (0.1, "0.10000000000000001", "0.1"),
            (0.25, "0.25", "0.25"),
            (0.0, "0.0", "0.0"),
            (1.0, "1.0", "1.0"),
            (2_106_473.0, "2106473.0", "2106473.0"),
            (8.525_710_720_639_264e-5, "8.5257107206392635e-05", "8.525710720639264e-05"),
            (0.218_998_646_904_477_07, "0.21899864690447707", "0.21899864690447707"),
            (1e-4, "0.0001", "0.0001"),
            (1e16, "1e+16", "1e+16"),
            (-0.5, "-0.5", "-0.5"),
            (123.5, "123.5", "123.5"),
        ] {
            assert_eq!(fraction(value, Style::Digits17), long);
            assert_eq!(fraction(value, Style::Shortest), short);
        }
    }
}
