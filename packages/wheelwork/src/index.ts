// What users install: one name for the library and the embedded engine.
export * from "@wheelwork/core";
export * from "@wheelwork/engine";
