variable "name" {
  description = "Begins the name of everything made here, and is its tag `picket:mesh`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name is 2 to 31 characters of a-z, 0-9 and '-', and begins with a letter."
  }
}

variable "group_names" {
  description = "Autoscaling groups of this region, by any names (the sentries modules' `group_name`)."
  type        = map(string)

  validation {
    condition     = length(var.group_names) >= 1
    error_message = "group_names is empty: there would be no instance to tell of."
  }
}

variable "hook_url" {
  description = "The controller's `hook_url`."
  type        = string

  validation {
    condition     = can(regex("^https://[a-z0-9.-]+(:[0-9]+)?/v1/hooks/aws$", var.hook_url))
    error_message = "hook_url is https://HOST/v1/hooks/aws."
  }
}

variable "hook_secret" {
  description = "The controller's `hook_secret`. It is in Terraform's state: EventBridge cannot be given a value that Terraform does not keep."
  type        = string
  sensitive   = true

  validation {
    condition     = length(var.hook_secret) >= 32 && length(var.hook_secret) <= 512
    error_message = "hook_secret has 32 to 512 characters; the controller refuses shorter ones."
  }
}

variable "launch_hook" {
  description = "Whether instances that come up wait for the controller. One that goes into a warm pool waits until it had time to be set up (`warm_seconds` of the controller's `[hooks]`), or AWS could stop it in the middle."
  type        = bool
  default     = true
}

variable "launch_seconds" {
  description = "How long AWS waits for the word on an instance that comes up, before it throws it away. The controller asks for more time every 60 s until its own `ready_seconds` (900) are over."
  type        = number
  default     = 300

  validation {
    condition     = var.launch_seconds >= 120 && var.launch_seconds <= 7200
    error_message = "launch_seconds is 120 to 7200: below it a controller that restarts would lose instances."
  }
}

variable "terminate_seconds" {
  description = "How long AWS keeps an instance that goes, at most: until every host has read back that it is cut, which takes seconds."
  type        = number
  default     = 300

  validation {
    condition     = var.terminate_seconds >= 60 && var.terminate_seconds <= 7200
    error_message = "terminate_seconds is 60 to 7200: the controller's own limit is 20 s, and AWS's messages take a moment."
  }
}

variable "kms_key_arn" {
  description = "Key of the queue of what could not be delivered. Null: SQS's own. (The connection's secret is under a key of AWS.)"
  type        = string
  default     = null
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told of alarms."
  type        = list(string)
  default     = []
}

variable "tags" {
  description = "Further tags of everything made here."
  type        = map(string)
  default     = {}
}
