//! As much of JSON Schema (2020-12) as the report's schema uses. A keyword that is not known here is a fault,
//! so that nothing passes unread. A crate for it would change the features of crates that OpenCV's binding shares,
//! and have that built twice.

use serde_json::Value;

/// Keywords that say nothing about a value.
const SILENT: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

/// Adds to `wrong` what of `value` does not fit.
pub fn check(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(rules) = schema.as_object() else {
        wrong.push(format!("{at}: the schema is no object"));
        return;
    };
    for (keyword, rule) in rules {
        let fits = match keyword.as_str() {
            "$ref" => {
                let path = rule.as_str().unwrap_or_default().trim_start_matches('#');
                let target = root.pointer(path).unwrap_or(&Value::Null);
                check(root, target, value, at, wrong);
                true
            }
            "type" => match rule {
                Value::Array(all) => all.iter().any(|t| is(t, value)),
                one => is(one, value),
            },
            "const" => value == rule,
            "enum" => rule.as_array().is_some_and(|all| all.contains(value)),
            "pattern" => value.as_str().is_none_or(|s| matches(rule, s)),
            "minimum" => value.as_f64().is_none_or(|v| rule.as_f64().is_some_and(|r| v >= r)),
            "maximum" => value.as_f64().is_none_or(|v| rule.as_f64().is_some_and(|r| v <= r)),
            "minItems" => value.as_array().is_none_or(|v| rule.as_u64().is_some_and(|r| v.len() as u64 >= r)),
            "maxItems" => value.as_array().is_none_or(|v| rule.as_u64().is_some_and(|r| v.len() as u64 <= r)),
            "anyOf" => rule.as_array().is_some_and(|all| {
                all.iter().any(|s| {
                    let mut inner = Vec::new();
                    check(root, s, value, at, &mut inner);
                    inner.is_empty()
                })
            }),
            "required" => match (value.as_object(), rule.as_array()) {
                (Some(object), Some(names)) => names.iter().all(|n| n.as_str().is_some_and(|n| object.contains_key(n))),
                (object, _) => object.is_none(),
            },
            "properties" | "additionalProperties" | "propertyNames" => {
                members(root, rules, keyword, rule, value, at, wrong);
                true
            }
            "items" | "prefixItems" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    let one = if keyword == "items" { Some(rule) } else { rule.get(i) };
                    if let Some(one) = one {
                        check(root, one, item, &format!("{at}/{i}"), wrong);
                    }
                }
                true
            }
            silent => SILENT.contains(&silent),
        };
        if !fits {
            wrong.push(format!("{at}: {keyword} {rule}: {value}").chars().take(300).collect());
        }
    }
}

fn members(
    root: &Value,
    rules: &serde_json::Map<String, Value>,
    keyword: &str,
    rule: &Value,
    value: &Value,
    at: &str,
    wrong: &mut Vec<String>,
) {
    let known = rules.get("properties").and_then(Value::as_object);
    for (name, member) in value.as_object().into_iter().flatten() {
        let named = known.and_then(|k| k.get(name));
        let here = format!("{at}/{name}");
        match (keyword, rule, named) {
            ("properties", _, Some(schema)) => check(root, schema, member, &here, wrong),
            ("additionalProperties", Value::Bool(false), None) => wrong.push(format!("{here}: is not in the schema")),
            ("additionalProperties", Value::Object(_), None) => check(root, rule, member, &here, wrong),
            ("propertyNames", _, _) => check(root, rule, &Value::from(name.as_str()), &here, wrong),
            _ => {}
        }
    }
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

/// The one pattern that the schema has: a SHA-256.
fn matches(pattern: &Value, text: &str) -> bool {
    pattern == "^[0-9a-f]{64}$" && text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
