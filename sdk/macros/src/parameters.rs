//! The parameters of the function: which is the context, and whether the others are the input or its fields.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, FnArg, Ident, Pat, PatType, Token, Type};

/// How the function takes its input.
pub(crate) enum Input {
    /// One struct of this type.
    Whole(Box<Type>),
    /// One argument a field.
    Fields(Vec<Field>),
}

/// An argument that is a field of the input.
pub(crate) struct Field {
    pub(crate) name: Ident,
    pub(crate) kind: Type,
    /// Doc comments, and attributes for serde and schemars.
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) default: Option<Expr>,
}

/// The parameters, read.
pub(crate) struct Parameters {
    pub(crate) input: Input,
    /// What the function is called with, in its own order: `input`, `input.field` or `context`.
    pub(crate) arguments: Vec<TokenStream>,
}

/// Reads the parameters and takes the attributes meant for this macro off them.
pub(crate) fn read(parameters: &mut syn::punctuated::Punctuated<FnArg, Token![,]>) -> syn::Result<Parameters> {
    let mut fields = Vec::new();
    let mut whole = None;
    let mut arguments = Vec::new();
    for parameter in parameters {
        let FnArg::Typed(parameter) = parameter else {
            return Err(syn::Error::new(parameter.span(), "a tool or agent is a free function: it has no `self`"));
        };
        if is_context(&parameter.ty) {
            let by_reference = matches!(*parameter.ty, Type::Reference(_));
            arguments.push(if by_reference { quote!(context) } else { quote!(context.clone()) });
        } else if is_whole(parameter) {
            if whole.replace(parameter.ty.clone()).is_some() {
                return Err(syn::Error::new(parameter.span(), "there is one `input`"));
            }
            arguments.push(quote!(input));
        } else {
            let field = field(parameter)?;
            let name = &field.name;
            arguments.push(quote!(input.#name));
            fields.push(field);
        }
    }
    let input = match (whole, fields) {
        (Some(kind), none) if none.is_empty() => Input::Whole(kind),
        (Some(kind), _) => {
            let message = "a parameter called `input` is the whole input; rename it, or move the others into its type";
            return Err(syn::Error::new(kind.span(), message));
        }
        (None, fields) => Input::Fields(fields),
    };
    Ok(Parameters { input, arguments })
}

fn is_context(kind: &Type) -> bool {
    match kind {
        Type::Reference(reference) => is_context(&reference.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "Context"),
        _ => false,
    }
}

/// A struct is taken whole when the parameter is called `input` or taken apart by a pattern.
fn is_whole(parameter: &PatType) -> bool {
    match &*parameter.pat {
        Pat::Ident(name) => name.ident == "input" || name.ident == "_input",
        _ => true,
    }
}

fn field(parameter: &mut PatType) -> syn::Result<Field> {
    let Pat::Ident(name) = &*parameter.pat else {
        return Err(syn::Error::new(parameter.pat.span(), "expected the name of an argument"));
    };
    let mut default = None;
    let mut attributes = Vec::new();
    for attribute in std::mem::take(&mut parameter.attrs) {
        let path = attribute.path();
        if path.is_ident("arg") {
            attribute.parse_nested_meta(|meta| {
                if !meta.path.is_ident("default") {
                    return Err(meta.error("expected `default = expression`"));
                }
                default = Some(meta.value()?.parse()?);
                Ok(())
            })?;
        } else if ["doc", "serde", "schemars"].iter().any(|known| path.is_ident(known)) {
            attributes.push(attribute);
        } else {
            parameter.attrs.push(attribute);
        }
    }
    let kind = (*parameter.ty).clone();
    if let Type::Reference(reference) = &kind {
        return Err(syn::Error::new(reference.span(), "an argument is owned: it comes out of JSON"));
    }
    Ok(Field { name: format_ident!("{}", name.ident), kind, attributes, default })
}
