//! Items as lines: signatures, fields, variants, methods.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Fields, GenericParam, Generics, ImplItem, Item, ItemImpl, Signature, TraitItem, Visibility};

use super::modules::{condition_of, is_left_out};
use super::tokens::compact;

/// What an item is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
    /// What it is: `fn`, `struct`.
    pub(crate) kind: &'static str,
    /// Whether it is `pub`.
    pub(crate) is_public: bool,
    /// What it is compiled under.
    pub(crate) condition: String,
}

impl Named {
    /// Nothing for what has no name, and for tests.
    pub(crate) fn of(item: &Item) -> Option<Self> {
        let (name, visibility, attributes, kind) = match item {
            Item::Const(item) => (&item.ident, &item.vis, &item.attrs, "const"),
            Item::Enum(item) => (&item.ident, &item.vis, &item.attrs, "enum"),
            Item::Fn(item) => (&item.sig.ident, &item.vis, &item.attrs, "fn"),
            Item::Static(item) => (&item.ident, &item.vis, &item.attrs, "static"),
            Item::Struct(item) => (&item.ident, &item.vis, &item.attrs, "struct"),
            Item::Trait(item) => (&item.ident, &item.vis, &item.attrs, "trait"),
            Item::Type(item) => (&item.ident, &item.vis, &item.attrs, "type"),
            _ => return None,
        };
        let is_public = matches!(visibility, Visibility::Public(_));
        let named = Self { name: name.to_string(), kind, is_public, condition: condition_of(attributes) };
        (!is_left_out(attributes)).then_some(named)
    }
}

/// An item as lines, under the name by which it is known.
pub(crate) fn of(item: &Item, shown: &str) -> Vec<String> {
    match item {
        Item::Const(item) => vec![format!("pub const {shown}: {}", compact(&item.ty))],
        Item::Static(item) => vec![format!("pub static {shown}: {}", compact(&item.ty))],
        Item::Type(item) => vec![format!("pub type {shown}{} = {}", generics(&item.generics), compact(&item.ty))],
        Item::Fn(item) => vec![format!("pub {}", signature(&item.sig, shown))],
        Item::Struct(item) => {
            let head = format!("pub struct {shown}{}", generics(&item.generics));
            fields(head, shown, &item.fields, Owner::Struct).into_iter().chain(marks(&item.attrs, shown)).collect()
        }
        Item::Enum(item) => {
            let head = format!("pub enum {shown}{}", generics(&item.generics));
            let variants = item.variants.iter().flat_map(|variant| {
                let shown = format!("{shown}::{}", variant.ident);
                let head = format!("{}{shown}", condition_of(&variant.attrs));
                fields(head, &shown, &variant.fields, Owner::Variant)
            });
            std::iter::once(head).chain(variants).chain(marks(&item.attrs, shown)).collect()
        }
        Item::Trait(item) => {
            let head = format!("pub trait {shown}{}{}", generics(&item.generics), bounds(&item.supertraits));
            std::iter::once(head).chain(item.items.iter().filter_map(|item| of_trait(item, shown))).collect()
        }
        _ => Vec::new(),
    }
}

fn of_trait(item: &TraitItem, shown: &str) -> Option<String> {
    match item {
        TraitItem::Fn(method) => {
            let default = if method.default.is_some() { " { .. }" } else { "" };
            let path = format!("{shown}::{}", method.sig.ident);
            Some(format!("{}{}{default}", condition_of(&method.attrs), signature(&method.sig, &path)))
        }
        TraitItem::Const(constant) => Some(format!("const {shown}::{}: {}", constant.ident, compact(&constant.ty))),
        TraitItem::Type(associated) => {
            Some(format!("type {shown}::{}{}", associated.ident, bounds(&associated.bounds)))
        }
        _ => None,
    }
}

fn bounds<T: ToTokens, P: ToTokens>(bounds: &syn::punctuated::Punctuated<T, P>) -> String {
    if bounds.is_empty() { String::new() } else { format!(": {}", compact(bounds)) }
}

/// What is public of an implementation: methods, or the trait.
pub(crate) fn of_implementation(methods: &ItemImpl, shown: &str) -> Vec<String> {
    if let Some((not, path, _)) = &methods.trait_ {
        let not = if not.is_some() { "!" } else { "" };
        let (parameters, whole) = (generics(&methods.generics), compact(&methods.self_ty));
        // Of the type itself, its arguments alone.
        let arguments = whole.find('<').and_then(|at| whole.get(at..)).unwrap_or_default();
        return vec![format!("impl{parameters} {not}{} for {shown}{arguments}", compact(path))];
    }
    let line = |item: &ImplItem| match item {
        ImplItem::Fn(method) if is_open(&method.vis, &method.attrs) => {
            let path = format!("{shown}::{}", method.sig.ident);
            Some(format!("{}pub {}", condition_of(&method.attrs), signature(&method.sig, &path)))
        }
        ImplItem::Const(constant) if is_open(&constant.vis, &constant.attrs) => {
            let condition = condition_of(&constant.attrs);
            Some(format!("{condition}pub const {shown}::{}: {}", constant.ident, compact(&constant.ty)))
        }
        _ => None,
    };
    methods.items.iter().filter_map(line).collect()
}

fn is_open(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    matches!(visibility, Visibility::Public(_)) && !is_left_out(attributes)
}

/// `fn path(a: A) -> B where ..`: the signature with a path in place of its name.
fn signature(signature: &Signature, path: &str) -> String {
    let mut plain = signature.clone();
    for argument in &mut plain.inputs {
        match argument {
            syn::FnArg::Receiver(receiver) => receiver.attrs.clear(),
            syn::FnArg::Typed(typed) => {
                typed.attrs.clear();
                // Whether an argument is changed within is of no account outside.
                if let syn::Pat::Ident(name) = &mut *typed.pat {
                    name.mutability = None;
                }
            }
        }
    }
    let name = plain.ident.to_string();
    compact(&plain).replacen(&format!("fn {name}"), &format!("fn {path}"), 1)
}

/// `<'a, T: Judge>` and what `where` says.
fn generics(generics: &Generics) -> String {
    if generics.params.is_empty() && generics.where_clause.is_none() {
        return String::new();
    }
    let parameters: Vec<&GenericParam> = generics.params.iter().collect();
    let where_clause = &generics.where_clause;
    compact(&quote! { < #(#parameters),* > #where_clause })
}

/// Attributes that say something to others, a line each: derived traits, `non_exhaustive`, `must_use`.
fn marks(attributes: &[Attribute], shown: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for attribute in attributes {
        if attribute.path().is_ident("derive") {
            let syn::Meta::List(list) = &attribute.meta else { continue };
            let all = compact(&list.tokens);
            let mut all: Vec<&str> = all.trim_end_matches(',').split(", ").collect();
            all.sort_unstable();
            lines.push(format!("impl {} for {shown}", all.join(" + ")));
        } else if ["non_exhaustive", "must_use", "repr"].iter().any(|name| attribute.path().is_ident(name)) {
            lines.push(format!("{} {shown}", compact(attribute)));
        }
    }
    lines
}

/// Whose fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// They say of themselves whether they are public.
    Struct,
    /// They are as public as the enum.
    Variant,
}

/// Fields behind a head: those of a tuple in it, others a line each.
fn fields(head: String, shown: &str, fields: &Fields, owner: Owner) -> Vec<String> {
    let is_open = |field: &syn::Field| owner == Owner::Variant || matches!(field.vis, Visibility::Public(_));
    match fields {
        Fields::Unit => vec![head],
        Fields::Unnamed(tuple) => {
            let of = |field: &syn::Field| if is_open(field) { compact(&field.ty) } else { "_".into() };
            vec![format!("{head}({})", tuple.unnamed.iter().map(of).collect::<Vec<_>>().join(", "))]
        }
        Fields::Named(named) => {
            let (open, hidden): (Vec<_>, Vec<_>) = named.named.iter().partition(|field| is_open(field));
            let rest = if hidden.is_empty() { "" } else { " { private fields }" };
            let kind = if owner == Owner::Struct { "pub " } else { "" };
            let line = |field: &syn::Field| {
                let name = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
                format!("{}{kind}{shown}::{name}: {}", condition_of(&field.attrs), compact(&field.ty))
            };
            std::iter::once(head + rest).chain(open.into_iter().map(line)).collect()
        }
    }
}

/// Tokens without `#[doc = ".."]`.
pub(crate) fn without_documentation(tokens: TokenStream) -> TokenStream {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    let mut kept = TokenStream::new();
    let mut index = 0;
    while let Some(token) = all.get(index) {
        let is_hash = matches!(token, TokenTree::Punct(sign) if sign.as_char() == '#');
        let is_doc =
            |next: &TokenTree| matches!(next, TokenTree::Group(group) if group.stream().to_string().starts_with("doc"));
        if is_hash && all.get(index + 1).is_some_and(is_doc) {
            index += 2;
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                Group::new(group.delimiter(), without_documentation(group.stream())).to_tokens(&mut kept);
            }
            other => other.to_tokens(&mut kept),
        }
        index += 1;
    }
    kept
}
