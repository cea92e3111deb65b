//! The linker keeps the relocations by which `cargo xtask` parts the module.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let parted = std::env::var_os("CARGO_FEATURE_SPLIT").is_some();
    if parted && std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo:rustc-link-arg-bins=--emit-relocs");
    }
}
