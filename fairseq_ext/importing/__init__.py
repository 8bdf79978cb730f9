"""Makes dumps of models that were trained elsewhere, without training: ``python -m fairseq_ext.importing fairseq|huggingface ...``.

``docs/importing.md`` says what is imported and what each analysis can say of it.
"""
