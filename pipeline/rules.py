"""The rules of the data gate: how grave each is unless `gate.rules` of params.yaml says otherwise, and what it means.

They stand apart from the gate so that a check of params.yaml need not import it.
"""

LEVELS = ("error", "warning", "ignore")

# An image that breaks a rule on decoding (its file cannot be used) is left out where the rule is no error.
RULES: dict[str, tuple[str, str]] = {
    "no_image": ("error", "the source holds no image"),
    "empty_split": ("error", "a split has no image"),
    "too_few_groups": ("error", "fewer groups than splits"),
    "outside_splits": ("error", "an image lies beside the official splits"),
    "image_without_mask": ("error", "an image has no mask"),
    "mask_without_image": ("error", "a mask has no image"),
    "two_masks": ("error", "an image has more than one mask"),
    "id_twice": ("error", "two images have one id"),
    "name_clash": ("error", "two names differ only in case or in their form of Unicode: one file, on some disks"),
    "zero_byte": ("error", "a file is empty"),
    "unreadable_image": ("error", "a file is damaged, cut off, or no image"),
    "unreadable_annotation": ("error", "a file of annotations is damaged, or of another format"),
    "unusable_outline": ("error", "an outline or a run length code describes no mask"),
    "missing_category": ("error", "an annotation names a category that its data set does not list"),
    "animated_image": ("error", "an image has several frames"),
    "image_depth": ("error", "an image has more than 8 bits per channel"),
    "transparent_image": ("error", "an image has transparent pixels"),
    "exif_rotation": ("error", "a viewer turns the image, the mask stays as stored"),
    "size_mismatch": ("error", "image and mask, or image and run length code, differ in size"),
    "colour_mask": ("error", "a mask holds colours where class indices are wanted"),
    "lossy_mask": ("error", "a mask is stored as JPEG, which changes its values"),
    "label_outside": ("error", "a label is no class"),
    "all_void": ("error", "a mask has no labelled pixel"),
    "crossing_outline": ("warning", "an outline crosses itself"),
    "outline_outside": ("warning", "an outline leaves its image; the part outside is cut off"),
    "box_outline": ("warning", "an object is a box without an outline; all of the box is taken for it"),
    "object_twice": ("warning", "an object stands there twice, in every number the same; it is taken once"),
    "image_without_labels": ("warning", "an image has no file of labels, which its format reads as: nothing on it"),
    "empty_outline": ("warning", "an outline covers no pixel, and its object is left out"),
    "category_ids": ("warning", "the ids of the categories do not count from 0 or 1"),
    "unicode_name": ("warning", "a name is in decomposed Unicode: it looks like its usual form and is another name"),
    "not_fetched": ("warning", "a list names images that are not there, and are left out"),
    "unlisted_image": ("warning", "an image stands in no list of its data set, and is left out"),
    "converted_image": ("warning", "an image is CMYK or Lab, or has an alpha channel, and becomes RGB"),
    "mixed_colour": ("warning", "some images are grey, and the others are in colour"),
    "constant_mask": ("warning", "a mask is one class from edge to edge"),
    "unused_class": ("warning", "no mask holds the class"),
    "untrained_class": ("warning", "no training image shows a class that another split has"),
    "duplicate_image": ("warning", "two images of a split have the same pixels"),
    "duplicate_across_splits": ("warning", "two images of different splits have the same pixels"),
    "near_duplicate": ("warning", "two images of different splits look alike"),
    "near_duplicate_in_split": ("warning", "images of a split look alike"),
    "sequence_across_splits": ("warning", "images that follow each other, as in a film, lie in different splits"),
    "group_across_splits": ("warning", "the official splits cut through a group"),
}
