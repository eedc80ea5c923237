//! The attribute macros of ice-sdk. Documented there; not meant to be used without it.
//!
//! A function stays as it is. Beside it comes an uninhabited type of the same name: types and functions have
//! namespaces of their own, so `kit!(greet)` names the type and `greet(…)` still calls the function.

mod expand;
mod options;
mod parameters;

use proc_macro::TokenStream;
use syn::{ItemFn, parse_macro_input};

/// See `ice_sdk::tool`.
#[proc_macro_attribute]
pub fn tool(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(options, item, &expand::TOOL)
}

/// See `ice_sdk::agent`.
#[proc_macro_attribute]
pub fn agent(options: TokenStream, item: TokenStream) -> TokenStream {
    expand(options, item, &expand::AGENT)
}

fn expand(options: TokenStream, item: TokenStream, role: &expand::Role) -> TokenStream {
    let options = parse_macro_input!(options as options::Options);
    let function = parse_macro_input!(item as ItemFn);
    expand::expand(&options, function, role).unwrap_or_else(syn::Error::into_compile_error).into()
}
