//! The scripts of a listener and the templates already written for them.

use super::asked::Asked;
use super::endpoint::Endpoint;
use crate::script::{Script, Scripts};
use crate::vendor::{self, Template};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The scripts in their order; the last one stays.
pub(crate) struct Repertoire {
    scripts: Vec<Arc<Staged>>,
    next: AtomicUsize,
}

impl Repertoire {
    pub(crate) fn new(scripts: Scripts) -> Self {
        let mut scripts = scripts.0;
        if scripts.is_empty() {
            scripts.push(Script::default());
        }
        let scripts = scripts.into_iter().map(|script| Arc::new(Staged::new(script))).collect();
        Self { scripts, next: AtomicUsize::new(0) }
    }

    /// The script of the next request, which only a counted one uses up.
    pub(crate) fn take(&self, is_counted: bool) -> Arc<Staged> {
        let last = self.scripts.len() - 1;
        let index = if is_counted && last > 0 {
            self.next.fetch_add(1, Ordering::Relaxed)
        } else {
            self.next.load(Ordering::Relaxed)
        };
        Arc::clone(&self.scripts[index.min(last)])
    }
}

/// A script with its templates.
pub(crate) struct Staged {
    pub(crate) script: Script,
    templates: Mutex<HashMap<Shape, Arc<Template>>>,
}

/// All of a request that an answer without a tool call depends on.
#[derive(PartialEq, Eq, Hash)]
struct Shape {
    endpoint: Endpoint,
    model: String,
    inputs: usize,
    flags: [bool; 4],
}

impl Staged {
    pub(crate) fn new(script: Script) -> Self {
        Self { script, templates: Mutex::default() }
    }

    /// The ordinary answer.
    pub(crate) fn template(&self, asked: &Asked) -> Arc<Template> {
        if self.script.tool_call.is_some() || asked.wants_tool.is_some() {
            return Arc::new(vendor::template(asked, &self.script));
        }
        let shape = Shape {
            endpoint: asked.endpoint,
            model: asked.model.clone(),
            inputs: asked.inputs,
            flags: [asked.is_stream, asked.include_usage, asked.thinking, asked.is_base64],
        };
        let mut templates = self.templates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = templates.get(&shape) {
            return Arc::clone(known);
        }
        let written = Arc::new(vendor::template(asked, &self.script));
        if templates.len() >= MOST_TEMPLATES {
            templates.clear();
        }
        templates.insert(shape, Arc::clone(&written));
        written
    }
}

const MOST_TEMPLATES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_used_up_by_counted_requests_and_its_last_script_stays() {
        let scripts = vec![Script::failing(500), Script::failing(429), Script::default()];
        let repertoire = Repertoire::new(Scripts(scripts));
        let statuses =
            [true, false, true, true, true].map(|is_counted| repertoire.take(is_counted).script.status);
        assert_eq!(statuses, [Some(500), Some(429), Some(429), None, None]);
    }
}
