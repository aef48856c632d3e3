//! Keyword arguments as the options of a technique: the keys of a recipe.

use crate::errors::Error;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

/// How deeply tables and lists are nested at most. A list of Python may contain itself.
const DEPTH: usize = 8;

/// The options of `technique` that the caller gave; an option that is None is not given.
pub fn options<T: DeserializeOwned>(technique: &str, given: Option<&Bound<'_, PyDict>>) -> PyResult<T> {
    let table = given.map_or(Ok(Map::new()), |given| table(technique, given, DEPTH))?;
    serde_json::from_value(Value::Object(table)).map_err(|e| Error::new_err(format!("{technique}: {e}")))
}

fn table(place: &str, given: &Bound<'_, PyDict>, depth: usize) -> PyResult<Map<String, Value>> {
    let mut table = Map::new();
    for (key, value) in given {
        let key: String = key.extract()?;
        if !value.is_none() {
            let value = converted(&format!("{place} {key}"), &value, depth)?;
            table.insert(key, value);
        }
    }
    Ok(table)
}

fn converted(place: &str, object: &Bound<'_, PyAny>, depth: usize) -> PyResult<Value> {
    let refused = |what: &str| PyTypeError::new_err(format!("{place}: expected an option, found {what}"));
    let Some(deeper) = depth.checked_sub(1) else { return Err(refused("too many lists inside lists")) };
    let list = |items: Bound<'_, PyAny>| -> PyResult<Value> {
        items
            .try_iter()?
            .map(|item| converted(place, &item?, deeper))
            .collect::<PyResult<_>>()
            .map(Value::Array)
    };
    // True is an int, too.
    if let Ok(flag) = object.cast::<PyBool>() {
        Ok(Value::Bool(flag.is_true()))
    } else if object.is_instance_of::<PyInt>() {
        let number = object.extract::<i64>().map(Number::from);
        let number = number.or_else(|_| object.extract::<u64>().map(Number::from));
        number.map(Value::Number).map_err(|_| refused("an integer of more than 64 bits"))
    } else if object.is_instance_of::<PyFloat>() {
        let number = Number::from_f64(object.extract()?);
        number.map(Value::Number).ok_or_else(|| refused("a number that is not finite"))
    } else if object.is_instance_of::<PyString>() {
        Ok(Value::String(object.extract()?))
    } else if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        list(object.clone())
    } else if let Ok(inner) = object.cast::<PyDict>() {
        table(place, inner, deeper).map(Value::Object)
    } else if let Ok(scalar) = object.call_method0("item") {
        // A number of numpy.
        converted(place, &scalar, deeper)
    } else {
        Err(refused(&object.get_type().name()?.to_string()))
    }
}
