//! From a function to a function and its `Tool` or `Agent`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, GenericArgument, ItemFn, Lit, LitStr, Meta, PathArguments, ReturnType, Type};

use crate::options::Options;
use crate::parameters::{self, Field, Input};

/// What differs between a tool and an agent.
pub(crate) struct Role {
    word: &'static str,
    trait_name: &'static str,
    method: &'static str,
    error: &'static str,
    /// A component has many tools, which `kit!` lists, but one agent.
    exports_itself: bool,
}

/// `#[tool]`.
pub(crate) const TOOL: Role =
    Role { word: "tool", trait_name: "Tool", method: "call", error: "ToolError", exports_itself: false };
/// `#[agent]`.
pub(crate) const AGENT: Role =
    Role { word: "agent", trait_name: "Agent", method: "run", error: "AgentError", exports_itself: true };

/// Returns the function, its input type where the arguments are fields, and the implementation of the role's trait.
pub(crate) fn expand(options: &Options, mut function: ItemFn, role: &Role) -> syn::Result<TokenStream> {
    if let Some(keyword) = &function.sig.asyncness {
        return Err(syn::Error::new(keyword.span(), "calls into the host block: remove `async`"));
    }
    if !function.sig.generics.params.is_empty() {
        return Err(syn::Error::new(
            function.sig.generics.span(),
            "a tool or agent has one schema: remove the generics",
        ));
    }
    let description = doc_text(&function.attrs);
    if description.trim().is_empty() {
        let message = format!("a {} needs a doc comment: it is the description people and models read", role.word);
        return Err(syn::Error::new(function.sig.ident.span(), message));
    }
    let name = match &options.name {
        Some(name) => name.clone(),
        None => LitStr::new(&function.sig.ident.to_string(), function.sig.ident.span()),
    };
    check_name(&name)?;
    let output = output_type(&function.sig.output, role)?;
    let parameters = parameters::read(&mut function.sig.inputs)?;
    let (identifier, visibility) = (&function.sig.ident, &function.vis);
    let input_name = format_ident!("__{}Input", identifier);
    let (input_type, input_item) = match &parameters.input {
        Input::Whole(kind) => (quote!(#kind), quote!()),
        Input::Fields(fields) => (quote!(#input_name), input_struct(&input_name, fields)),
    };
    let (trait_name, method, error) =
        (format_ident!("{}", role.trait_name), format_ident!("{}", role.method), format_ident!("{}", role.error));
    let export = role.exports_itself.then(|| quote!(::ice_sdk::__export_agent!(#identifier);));
    let (tags, arguments) = (&options.tags, &parameters.arguments);
    Ok(quote! {
        #function

        #[doc = #description]
        #[expect(non_camel_case_types, reason = "the type stands for the function of this name")]
        #visibility enum #identifier {}

        const _: () = {
            #input_item

            impl ::ice_sdk::#trait_name for #identifier {
                const NAME: &'static str = #name;
                const DESCRIPTION: &'static str = #description;
                const TAGS: &'static [&'static str] = &[#(#tags),*];
                type Input = #input_type;
                type Output = #output;

                fn #method(
                    input: Self::Input,
                    context: &::ice_sdk::Context,
                ) -> ::core::result::Result<Self::Output, ::ice_sdk::#error> {
                    let _ = (&input, context);
                    #identifier(#(#arguments),*)
                }
            }
        };

        #export
    })
}

fn input_struct(name: &syn::Ident, fields: &[Field]) -> TokenStream {
    let mut members = TokenStream::new();
    let mut defaults = TokenStream::new();
    for Field { name, kind, attributes, default } in fields {
        let serde_default = default.as_ref().map(|expression| {
            let text = matches!(expression, Expr::Lit(ExprLit { lit: Lit::Str(_), .. }));
            let value = if text { quote!(::std::string::String::from(#expression)) } else { quote!(#expression) };
            let function = format_ident!("default_{}", name);
            let path = function.to_string();
            defaults.extend(quote! {
                fn #function() -> #kind {
                    #value
                }
            });
            quote!(#[serde(default = #path)])
        });
        members.extend(quote! { #(#attributes)* #serde_default #name: #kind, });
    }
    quote! {
        #defaults

        #[derive(::ice_sdk::serde::Deserialize, ::ice_sdk::schemars::JsonSchema)]
        #[serde(crate = "::ice_sdk::serde", deny_unknown_fields)]
        #[schemars(crate = "::ice_sdk::schemars")]
        #[expect(non_camel_case_types, reason = "named after the function")]
        pub struct #name { #members }
    }
}

/// The rule of `wit/plugin.wit`, checked where the author can still see it.
fn check_name(name: &LitStr) -> syn::Result<()> {
    let text = name.value();
    let mut letters = text.chars();
    let fits = letters.next().is_some_and(|first| first.is_ascii_lowercase())
        && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if fits { Ok(()) } else { Err(syn::Error::new(name.span(), "a name is `[a-z][a-z0-9_]*`")) }
}

/// The `Output` of `Result<Output, _>`.
fn output_type(output: &ReturnType, role: &Role) -> syn::Result<Type> {
    let refuse = || syn::Error::new(output.span(), format!("the function returns `Result<Output, {}>`", role.error));
    let ReturnType::Type(_, kind) = output else {
        return Err(refuse());
    };
    let Type::Path(path) = &**kind else {
        return Err(refuse());
    };
    let last = path.path.segments.last().filter(|last| last.ident == "Result").ok_or_else(refuse)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Err(refuse());
    };
    match arguments.args.first() {
        Some(GenericArgument::Type(kind)) => Ok(kind.clone()),
        _ => Err(refuse()),
    }
}

/// The text of `///` lines, one line each.
fn doc_text(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(ExprLit { lit: Lit::Str(line), .. }) = &pair.value
        {
            lines.push(line.value());
        }
    }
    lines.join("\n")
}
