//! Which items can be reached from outside, and by which names.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, UseTree, Visibility};

use super::lines::{self, Named};
use super::modules::{Module, condition_of, is_left_out};
use super::tokens::compact;

/// The path of a module within its crate.
type Path = Vec<String>;

/// A crate that is walked through.
struct Walk<'a> {
    root: &'a Module,
    /// Types that were listed: where each is defined, and the path by which it is known.
    types: BTreeMap<(Path, String), String>,
    /// Where what was listed is defined, what it is, and the name under which it stands in full: other names refer to it.
    listed: BTreeMap<(Path, String), String>,
    /// What was walked through under a name, so that circles of exports end.
    seen: BTreeSet<String>,
    lines: Vec<String>,
}

/// Everything that is public, in any order.
pub(crate) fn lines(root: &Module, crate_name: &str) -> Vec<String> {
    let mut walk =
        Walk { root, types: BTreeMap::new(), listed: BTreeMap::new(), seen: BTreeSet::new(), lines: Vec::new() };
    walk.module(&Vec::new(), crate_name, "");
    walk.methods(root, &Vec::new(), "");
    walk.lines
}

impl<'a> Walk<'a> {
    fn at(&self, path: &[String]) -> Option<&'a Module> {
        path.iter().try_fold(self.root, |module, name| module.modules.get(name))
    }

    /// Lists what a module exports, as `shown`.
    fn module(&mut self, path: &Path, shown: &str, condition: &str) {
        if !self.seen.insert(format!("mod {}: {shown}", path.join("::"))) {
            return;
        }
        let Some(module) = self.at(path) else { return };
        for (name, below) in module.modules.iter().filter(|(_, below)| below.is_public) {
            let condition = format!("{condition}{}", below.condition);
            self.lines.push(format!("{condition}pub mod {shown}::{name}"));
            self.module(&joined(path, name), &format!("{shown}::{name}"), &condition);
        }
        for item in &module.items {
            self.item(item, path, shown, condition);
        }
    }

    fn item(&mut self, item: &Item, path: &Path, shown: &str, condition: &str) {
        match item {
            Item::Use(exported) if matches!(exported.vis, Visibility::Public(_)) && !is_left_out(&exported.attrs) => {
                let condition = format!("{condition}{}", condition_of(&exported.attrs));
                for (target, name) in leaves(&exported.tree) {
                    self.export(&target, &name, path, shown, &condition);
                }
            }
            Item::Macro(invoked) if invoked.ident.is_none() && !is_left_out(&invoked.attrs) => {
                let inner = lines::without_documentation(invoked.mac.tokens.clone());
                let name = compact(&invoked.mac.path);
                self.lines.push(format!("{condition}{shown}: {name}! {{ {} }}", compact(&inner)));
            }
            _ => {
                let Some(named) = Named::of(item).filter(|named| named.is_public) else { return };
                self.named(item, &named, path, &format!("{shown}::{}", named.name), condition);
            }
        }
    }

    /// Lists an item that has a name, as `shown`.
    fn named(&mut self, item: &Item, named: &Named, path: &Path, shown: &str, condition: &str) {
        let condition = format!("{condition}{}", named.condition);
        let what = (path.clone(), format!("{condition}{} {}", named.kind, named.name));
        match self.listed.get(&what) {
            Some(known) if known == shown => return,
            Some(known) => {
                self.lines.push(format!("{condition}pub use {shown} = {known}"));
                return;
            }
            None => self.listed.insert(what, shown.to_owned()),
        };
        self.types.entry((path.clone(), named.name.clone())).or_insert_with(|| shown.to_owned());
        self.lines.extend(lines::of(item, shown).into_iter().map(|line| condition.clone() + &line));
    }

    /// Lists what a `pub use` of a module exports.
    fn export(&mut self, target: &[String], name: &str, path: &Path, shown: &str, condition: &str) {
        let here = if name == "*" { shown.to_owned() } else { format!("{shown}::{name}") };
        let as_written = format!("{condition}pub use {here} = {}", target.join("::"));
        let Some((module, last)) = self.resolve(target, path) else {
            self.lines.push(as_written);
            return;
        };
        let Some(found) = self.at(&module) else { return };
        if last == "*" {
            self.module(&module, shown, condition);
            return;
        }
        if found.modules.contains_key(&last) {
            self.lines.push(format!("{condition}pub mod {here}"));
            self.module(&joined(&module, &last), &here, condition);
            return;
        }
        // One name may be of several things: a function and a type, or one for each condition.
        let all = found.items.iter().filter_map(|item| Some((item, Named::of(item)?)));
        let named: Vec<(&Item, Named)> = all.filter(|(_, named)| named.name == last).collect();
        for (item, named) in &named {
            self.named(item, named, &module, &here, condition);
        }
        if named.is_empty() {
            // Exported onwards, or written by a macro.
            match imported(found, &last) {
                Some(target) if self.seen.insert(format!("use {here}: {}", module.join("::"))) => {
                    self.export(&target, name, &module, shown, condition);
                }
                _ => self.lines.push(as_written),
            }
        }
    }

    /// The module that a path leads to, and the last name; nothing where it leads out of the crate.
    fn resolve(&self, target: &[String], path: &Path) -> Option<(Path, String)> {
        let (last, before) = target.split_last()?;
        let mut at = path.clone();
        for (index, name) in before.iter().enumerate() {
            match name.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => {
                    at.pop()?;
                }
                name if index == 0 && !self.at(&at)?.modules.contains_key(name) => return None,
                name => at.push(name.to_owned()),
            }
        }
        let is_foreign = before.is_empty() && !self.at(&at)?.modules.contains_key(last);
        (!is_foreign && self.at(&at).is_some()).then(|| (at, last.clone()))
    }

    /// Lists the methods and the traits of types that were listed.
    fn methods(&mut self, module: &Module, path: &Path, condition: &str) {
        let condition = format!("{condition}{}", module.condition);
        for item in &module.items {
            let Item::Impl(methods) = item else { continue };
            if is_left_out(&methods.attrs) {
                continue;
            }
            let Some(shown) = self.shown(&methods.self_ty, path) else { continue };
            let condition = format!("{condition}{}", condition_of(&methods.attrs));
            let lines = lines::of_implementation(methods, &shown);
            self.lines.extend(lines.into_iter().map(|line| condition.clone() + &line));
        }
        for (name, below) in &module.modules {
            self.methods(below, &joined(path, name), &condition);
        }
    }

    /// The name by which a type is known outside, from how a module writes it.
    fn shown(&self, written: &syn::Type, path: &Path) -> Option<String> {
        let syn::Type::Path(written) = written else { return None };
        let target: Vec<String> = written.path.segments.iter().map(|part| part.ident.to_string()).collect();
        let (last, before) = target.split_last()?;
        let defined = |target: &[String]| self.types.get(&self.resolve(target, path)?).cloned();
        if !before.is_empty() {
            return defined(&target);
        }
        if let Some(here) = self.types.get(&(path.clone(), last.clone())) {
            return Some(here.clone());
        }
        let module = self.at(path)?;
        if module.items.iter().filter_map(Named::of).any(|named| named.name == *last) {
            return None;
        }
        if let Some(known) = imported(module, last).and_then(|target| defined(&target)) {
            return Some(known);
        }
        // Imported by way of another module, or all of one: the only type of that name.
        let mut all = self.types.iter().filter(|((_, name), _)| name == last).map(|(_, shown)| shown);
        all.next().filter(|_| all.next().is_none()).cloned()
    }
}

fn joined(path: &Path, name: &str) -> Path {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// What a `use` of the module gives a name to.
fn imported(module: &Module, name: &str) -> Option<Vec<String>> {
    let uses = module.items.iter().filter_map(|item| if let Item::Use(used) = item { Some(&used.tree) } else { None });
    uses.flat_map(leaves).find(|(_, known)| known == name).map(|(target, _)| target)
}

/// The paths that a `use` names, with the names that they get; `*` for all of a module.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    fn walk(tree: &UseTree, before: &[String], found: &mut Vec<(Vec<String>, String)>) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => walk(&path.tree, &with(path.ident.to_string()), found),
            UseTree::Name(name) if name.ident == "self" => {
                found.push((before.to_vec(), before.last().cloned().unwrap_or_default()));
            }
            UseTree::Name(name) => found.push((with(name.ident.to_string()), name.ident.to_string())),
            UseTree::Rename(renamed) => {
                found.push((with(renamed.ident.to_string()), renamed.rename.to_string()));
            }
            UseTree::Glob(_) => found.push((with("*".into()), "*".into())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, before, found)),
        }
    }
    let mut found = Vec::new();
    walk(tree, &[], &mut found);
    found
}
